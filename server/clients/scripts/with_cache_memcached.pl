# Cache::Memcached, which speaks the text protocol.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Checks;

eval { require Cache::Memcached; 1 } or skip("Cache::Memcached is missing: $@");

my ( $host, $port, $path ) = @ARGV;
for my $server ( "$host:$port", $path ) {
    where("Cache::Memcached at $server");
    my $m = Cache::Memcached->new( { servers => [$server] } );
    $m->flush_all;
    same( 'get of nothing', $m->get('a'), undef );
    ok( 'set', $m->set( 'a', '1' ) );
    same( 'get', $m->get('a'), '1' );
    ok( 'add of what there is', !$m->add( 'a', '3' ) );
    ok( 'add',                $m->add( 'b',      '3' ) );
    ok( 'replace of nothing', !$m->replace( 'c', '3' ) );
    ok( 'replace',            $m->replace( 'b',  '4' ) );
    ok( 'append',             $m->append( 'b',   '5' ) );
    ok( 'prepend',            $m->prepend( 'b',  '3' ) );
    same( 'get of what was joined', $m->get('b'), '345' );
    ok( 'append to nothing', !$m->append( 'none', '5' ) );

    $m->set( "m$_", $_ ) for 1 .. 200;
    my $many = $m->get_multi( map { "m$_" } 1 .. 210 );
    same( 'get_multi', scalar keys %$many, 200 );
    same( "get_multi of m$_", $many->{"m$_"}, $_ ) for 1, 100, 200;

    $m->set( 'n', 10 );
    same( 'incr', $m->incr( 'n', 5 ), 15 );
    ok( 'decr', $m->decr( 'n', 100 ) == 0 );
    same( 'incr of nothing', $m->incr( 'none', 1 ), undef );

    ok( 'delete', $m->delete('a') );
    ok( 'delete of nothing', !$m->delete('a') );
    $m->set( 'short', '1', 1 );
    gone( 'an item that expires', sub { $m->get('short') } );

    ok( 'set of any bytes', $m->set( 'bytes', every_byte() ) );
    same( 'get of any bytes', $m->get('bytes'), every_byte() );
    ok( 'set of a large value', $m->set( 'large', large() ) );
    same( 'get of a large value', $m->get('large'), large() );
    ok( 'set of too large a value', !$m->set( 'large', too_large() ) );
    same( 'get after too large a value', $m->get('large'), undef );
    ok( 'set after too large a value', $m->set( 'large', '1' ) );
    my $value = { list => [ 1, 'two' ], text => "\x{20ac}" };
    ok( 'set of a value of Perl', $m->set( 'value', $value ) );
    my $got = $m->get('value');
    ok( 'get of a value of Perl', ref $got eq 'HASH' && $got->{list}[1] eq 'two' && $got->{text} eq "\x{20ac}" );

    my $stats = $m->stats('misc');
    same( 'stats', $stats->{hosts}{$server}{misc}{version}, '1.6.18' );
    $m->flush_all;
    same( 'get after flush_all', $m->get('b'), undef );
    $m->disconnect_all;
}
end();
