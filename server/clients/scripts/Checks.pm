# Counts checks and prints those that fail, for the scripts beside it.
package Checks;
use strict;
use warnings;
use Exporter 'import';
our @EXPORT = qw(where ok same gone end skip every_byte large too_large);

my ( $made, $failed, $where ) = ( 0, 0, '' );

sub where { $where = shift }

sub ok {
    my ( $name, $ok, $found ) = @_;
    $made++;
    return if $ok;
    $failed++;
    print "FAIL $where: $name: found ", defined $found ? substr( $found, 0, 200 ) : 'undef', "\n";
}

# same compares two values that may be undefined.
sub same {
    my ( $name, $found, $expected ) = @_;
    ok( $name, defined $found ? defined $expected && $found eq $expected : !defined $expected, $found );
}

# gone waits until a function returns undef.
sub gone {
    my ( $name, $read ) = @_;
    my $found;
    for ( 1 .. 300 ) {
        $found = $read->();
        last unless defined $found;
        select undef, undef, undef, 0.1;
    }
    same( $name, $found, undef );
}

sub end {
    print "$made checks, $failed failed\n";
    exit( $failed || !$made ? 1 : 0 );
}

# skip ends the script, because what it needs is missing.
sub skip {
    print @_, "\n";
    exit 77;
}

sub every_byte { join( '', map { chr } 0 .. 255 ) x 4 }
sub large      { '0123456789abcdef' x 60000 }               # 960,000 bytes, below the limit of 1 MiB
sub too_large  { 'x' x ( 1 << 20 ) }

1;
