# Hash::SharedMem. A child that carries out one task of the bench (see task.go), as peers/child.h does in C.
#
# Perl takes longer for the loop around an operation than the operation takes. So the loop is run again without the
# operation, and its time is taken off.
use strict;
use warnings;
use Hash::SharedMem qw(shash_open shash_get shash_set shash_snapshot shash_keys_array shash_group_get_hash);
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

my %t = @ARGV;
my ($work, $n, $seed, $zipf, $path, $size) = @t{qw(-work -n -seed -zipf -path -value)};
my ($ops, $seconds, $warm, $batch) = @t{qw(-ops -seconds -warm -batch)};

my %possible = map { $_ => 1 }
	qw(load get get-dependent get-absent get-snapshot set mixed delete scan open hold latency latency-set);
if (!$possible{$work} || $t{-workers} > 1 || $t{-writers} > 0 || $batch > 1 || $t{-order}) {
	print qq({"unsupported":true}\n);
	exit 0;
}

# --- keys and values, as in keys.go ---

sub splitmix64 {
	my $x = shift;
	{ use integer; $x += -7046029254386353131 }
	$x = $x ^ ($x >> 30);
	{ use integer; $x *= -4658895280553007687 }
	$x = $x ^ ($x >> 27);
	{ use integer; $x *= -7723592293110705685 }
	return $x ^ ($x >> 31);
}

sub add { use integer; return $_[0] + $_[1] }

sub key_of { return pack "Q>Q>", splitmix64($_[0]), $_[0] }

my $zeros = "\0" x ($size > 16 ? $size - 16 : 0);

sub value_of {
	my ($i, $stamp) = @_;
	return $size >= 16 ? pack("Q<Q<", $i, $stamp) . $zeros : pack("Q<", $i) . "\0" x ($size - 8);
}

sub check {
	my ($value, $i) = @_;
	die "$work: key not found\n" if !defined $value;
	die "$work: wrong value\n" if length($value) != $size || unpack("Q<", $value) != $i;
}

sub permute { return $_[0] * 2654435761 % $n }

sub zipf_rank {
	my $u = ($_[0] >> 11) / 9007199254740992;
	my $y = 0.99309249543703593 + $u * ($zipf - 0.99309249543703593);
	my $y2 = $y * $y;
	my $y4 = $y2 * $y2;
	my $y8 = $y4 * $y4;
	my $y16 = $y8 * $y8;
	my $y32 = $y16 * $y16;
	my $y64 = $y32 * $y32;
	my $rank = int($y64 * $y32 * $y4 + 0.5);
	return ($rank < 1 ? 1 : $rank > $n ? $n : $rank) - 1;
}

my $sum = 0;

sub draw {
	my $x = splitmix64(add($seed, $_[0]));
	my $k = $zipf == 0
		? (($x >> 32) * $n + ((($x & 0xffffffff) * $n) >> 32)) >> 32
		: permute(zipf_rank($x));
	$sum += $k;
	return $k;
}

# --- operations; each takes what stands for the store's function, so that the loop can be run without it ---

my ($hash, $last) = (undef, 0);

sub get_op {
	my ($i, $get) = @_;
	my $k = draw($i);
	my $value = $get->($hash, key_of($k));
	check($value, $k) if $get == \&shash_get;
}

sub get_dependent_op {
	my ($i, $get) = @_;
	my $k = draw($i + $last);
	my $value = $get->($hash, key_of($k));
	return if $get != \&shash_get;
	check($value, $k);
	$last = ord substr $value, -1;
}

sub get_absent_op {
	my ($i, $get) = @_;
	my $value = $get->($hash, key_of($n + draw($i)));
	die "$work: an absent key was found\n" if defined $value && $get == \&shash_get;
}

sub set_op {
	my ($i, undef, $set) = @_;
	my $k = draw($i);
	$set->($hash, key_of($k), value_of($k, $i));
}

sub mixed_op { return splitmix64(~add($seed, $_[0])) % 20 == 0 ? set_op(@_) : get_op(@_) }

sub load_op {
	my ($i, undef, $set) = @_;
	$sum += $i;
	$set->($hash, key_of($i), value_of($i, 0));
}

sub delete_op {
	my ($i, undef, $set) = @_;
	my $k = permute($i);
	$sum += $k;
	$set->($hash, key_of($k), undef);
}

sub scan_op {
	my (undef, $get) = @_;
	return if $get != \&shash_get;
	my $group = shash_group_get_hash(shash_snapshot($hash));
	while (my ($key, $value) = each %$group) {
		my $i = unpack "x8Q>", $key;
		check($value, $i);
		$sum += $i;
	}
}

my %latencies;

sub latency_op {
	my ($i, $get) = @_;
	my $k = draw($i);
	my $key = key_of($k);
	my $start = clock_gettime(CLOCK_MONOTONIC);
	my $value = $get->($hash, $key);
	my $nanos = (clock_gettime(CLOCK_MONOTONIC) - $start) * 1e9;
	return if $get != \&shash_get;
	check($value, $k);
	$latencies{int($nanos / 10) * 10}++;
}

sub latency_set_op {
	my ($i, undef, $set) = @_;
	my $k = draw($i);
	my ($key, $value) = (key_of($k), value_of($k, $i));
	my $start = clock_gettime(CLOCK_MONOTONIC);
	$set->($hash, $key, $value);
	my $nanos = (clock_gettime(CLOCK_MONOTONIC) - $start) * 1e9;
	$latencies{int($nanos / 10) * 10}++ if $set == \&shash_set;
}

my %op = (
	load => \&load_op, get => \&get_op, "get-dependent" => \&get_dependent_op, "get-absent" => \&get_absent_op,
	"get-snapshot" => \&get_op, set => \&set_op, mixed => \&mixed_op, delete => \&delete_op, scan => \&scan_op,
	latency => \&latency_op, "latency-set" => \&latency_set_op,
);

# --- the run ---

$| = 1;

sub gate {
	print qq({"ready":true}\n);
	<STDIN>;
}

# run_loop calls an operation with 0, 1, 2 ... until its operations or seconds are used up.
sub run_loop {
	my ($op, $get, $set, $per_call, $ops, $seconds) = @_;
	my $calls = int(($ops + $per_call - 1) / $per_call);
	my $step = $per_call < 256 ? int(256 / $per_call) : 1;
	my ($i, $took, $start) = (0, 0, clock_gettime(CLOCK_MONOTONIC));
	while ((!$calls || $i < $calls) && (!$seconds || $took < $seconds)) {
		my $end = $i + $step;
		$end = $calls if $calls && $end > $calls;
		for (; $i < $end; $i++) { $op->($i, $get, $set) }
		$took = clock_gettime(CLOCK_MONOTONIC) - $start;
	}
	return ($i * $per_call, $took);
}

sub result {
	my ($done, $took) = @_;
	my $pairs = join ",", map { "[$_,$latencies{$_}]" } sort { $a <=> $b } keys %latencies;
	printf qq({"peer":"Hash::SharedMem %s","ops":%d,"nanos":%d,"sum":%u%s}\n), $Hash::SharedMem::VERSION, $done,
		$took * 1e9, $sum, $pairs ? qq(,"latencies":[$pairs]) : "";
}

if ($work eq "open") {
	gate();
	my $start = clock_gettime(CLOCK_MONOTONIC);
	$hash = shash_open($path, "rw");
	get_op(0, \&shash_get);
	result(1, clock_gettime(CLOCK_MONOTONIC) - $start);
	exit 0;
}

$hash = shash_open($path, $work eq "load" ? "rwce" : "rw");
if ($work eq "hold") {
	my $snapshot = shash_snapshot($hash);
	gate();
	check(shash_get($snapshot, key_of(0)), 0);
	result(0, 0);
	exit 0;
}

if ($work ne "load") {
	scan_op(0, \&shash_get);
	run_loop(sub { get_op(~$_[0], \&shash_get) }, undef, undef, 1, $n < 100_000 ? $n : 100_000, $seconds);
	run_loop(sub { my $k = draw(~$_[0]); shash_set($hash, key_of($k), value_of($k, $_[0])) }, undef, undef, 1, $warm, $seconds)
		if $warm;
}
$hash = shash_snapshot($hash) if $work eq "get-snapshot";
gate();
$sum = 0;
my ($done, $took) = run_loop($op{$work}, \&shash_get, \&shash_set, $work eq "scan" ? $n : 1, $ops, $seconds);
my $real = $sum;
if ($work ne "scan") {
	my $nothing = sub { undef };
	my ($again, $loop) = run_loop($op{$work}, $nothing, $nothing, 1, $done < 100_000 ? $done : 100_000, 0);
	my $rest = $took - $loop / $again * $done;
	$took = $rest if $rest > 0;
}
$sum = $real;
result($done, $took);
