# Cache::Memcached::Fast, which speaks the text protocol.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Checks;

eval { require Cache::Memcached::Fast; 1 } or skip("Cache::Memcached::Fast is missing: $@");

my ( $host, $port, $path ) = @ARGV;
for my $server ( "$host:$port", $path ) {
    where("Cache::Memcached::Fast at $server");
    my $m = Cache::Memcached::Fast->new( { servers => [$server], max_size => 10 << 20, io_timeout => 30 } );
    $m->flush_all;
    same( 'get of nothing', $m->get('a'), undef );
    ok( 'set', $m->set( 'a', '1' ) );
    same( 'get', $m->get('a'), '1' );
    $m->set( 'a', '2' );    # in void context it wants no reply
    same( 'get after a set without a reply', $m->get('a'), '2' );
    ok( 'add of what there is', !$m->add( 'a', '3' ) );
    ok( 'add',                $m->add( 'b',      '3' ) );
    ok( 'replace of nothing', !$m->replace( 'c', '3' ) );
    ok( 'replace',            $m->replace( 'b',  '4' ) );
    ok( 'append',             $m->append( 'b',   '5' ) );
    ok( 'prepend',            $m->prepend( 'b',  '3' ) );
    same( 'get of what was joined', $m->get('b'), '345' );
    ok( 'append to nothing', !$m->append( 'none', '5' ) );

    my $set = $m->set_multi( map { [ "m$_", $_ ] } 1 .. 500 );
    same( 'set_multi', scalar( grep { $_ } values %$set ), 500 );
    my $many = $m->get_multi( map { "m$_" } 1 .. 510 );
    same( 'get_multi', scalar keys %$many, 500 );
    same( "get_multi of m$_", $many->{"m$_"}, $_ ) for 1, 250, 500;
    my $counted = $m->incr_multi( map { "m$_" } 1 .. 10 );
    same( 'incr_multi', $counted->{m7}, 8 );
    $m->delete_multi( map { "m$_" } 1 .. 250 );
    same( 'get_multi after delete_multi', scalar keys %{ $m->get_multi( map { "m$_" } 1 .. 500 ) }, 250 );

    my $both = $m->gets('a');
    same( 'gets', $both->[1], '2' );
    ok( 'cas', $m->cas( 'a', $both->[0], 'new' ) );
    ok( 'cas with an old number', !$m->cas( 'a', $both->[0], 'newer' ) );
    ok( 'cas of nothing',         !$m->cas( 'none', $both->[0], 'x' ) );
    my $uniques = $m->gets_multi( 'a', 'b', 'none' );
    same( 'gets_multi', join( ' ', map { "$_=$uniques->{$_}[1]" } sort keys %$uniques ), 'a=new b=345' );

    $m->set( 'n', 10 );
    same( 'incr', $m->incr( 'n', 5 ), 15 );
    ok( 'decr', $m->decr( 'n', 100 ) == 0 );
    ok( 'incr of nothing', !$m->incr( 'none', 1 ) );
    ok( 'incr of a text', !$m->incr( 'a', 1 ) );

    ok( 'touch', $m->touch( 'a', 100 ) );
    ok( 'touch of nothing', !$m->touch( 'none', 100 ) );
    my $touched = $m->gat( 100, 'a' );
    same( 'gat', $touched, 'new' );
    my $all = $m->gat_multi( 100, 'a', 'b', 'none' );
    same( 'gat_multi', scalar keys %$all, 2 );
    ok( 'delete', $m->delete('a') );
    ok( 'delete of nothing', !$m->delete('a') );
    $m->set( 'short', '1', 1 );
    gone( 'an item that expires', sub { $m->get('short') } );
    $m->set( 'long', '1' );
    $m->touch( 'long', 1 );
    gone( 'an item that was touched to expire', sub { $m->get('long') } );

    ok( 'set of any bytes', $m->set( 'bytes', every_byte() ) );
    same( 'get of any bytes', $m->get('bytes'), every_byte() );
    ok( 'set of a large value', $m->set( 'large', large() ) );
    same( 'get of a large value', $m->get('large'), large() );
    ok( 'set of too large a value', !$m->set( 'large', too_large() ) );
    same( 'get after too large a value', $m->get('large'), undef );
    ok( 'set after too large a value', $m->set( 'large', '1' ) );

    my $versions = $m->server_versions;
    same( 'server_versions', ( values %$versions )[0], '1.6.18' );
    ok( 'flush_all', $m->flush_all );
    same( 'get after flush_all', $m->get('b'), undef );
}
end();
