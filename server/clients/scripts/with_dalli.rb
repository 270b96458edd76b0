# Dalli, which speaks the binary protocol.
begin
  require 'dalli'
rescue LoadError => e
  puts "Dalli is missing: #{e}"
  exit 77
end

$made = $failed = 0

def same(name, found, expected)
  $made += 1
  return if found == expected

  $failed += 1
  puts "FAIL #{$where}: #{name}: found #{found.inspect[0, 200]}, expected #{expected.inspect[0, 200]}"
end

def ok(name, found)
  same(name, found ? true : found, true)
end

# refused wants an error of Dalli, or no success: versions of Dalli differ.
def refused(name)
  found = yield
  same(name, found == 0 ? nil : found || nil, nil)
rescue Dalli::DalliError
  $made += 1
end

def gone(name)
  found = nil
  300.times do
    found = yield
    break if found.nil?

    sleep 0.1
  end
  same(name, found, nil)
end

every_byte = (0..255).to_a.pack('C*') * 4
large = '0123456789abcdef' * 60_000 # 960,000 bytes, below the limit of 1 MiB
too_large = 'x' * (1 << 20)

host, port, path = ARGV
["#{host}:#{port}", path].each do |server|
  $where = "Dalli at #{server}"
  m = Dalli::Client.new(server, value_max_bytes: 10 << 20, compress: false)
  raw = { raw: true }
  m.flush
  same('version', m.version.values, ['1.6.18'])
  same('get of nothing', m.get('a'), nil)
  ok('set', m.set('a', '1'))
  same('get', m.get('a'), '1')
  refused('add of what there is') { m.add('a', '3') }
  ok('add', m.add('b', '3', nil, raw))
  refused('replace of nothing') { m.replace('c', '3') }
  ok('replace', m.replace('b', '4', nil, raw))
  ok('append', m.append('b', '5'))
  ok('prepend', m.prepend('b', '3'))
  same('get of what was joined', m.get('b', raw), '345')
  refused('append to nothing') { m.append('none', '5') }
  [1, 2.5, nil, '€', [1, { a: 'b' }]].each do |value|
    m.set('value', value)
    same("a #{value.class}", m.get('value'), value)
  end

  m.multi { (1..200).each { |i| m.set("m#{i}", i) } } # quiet
  found = m.get_multi((1..210).map { |i| "m#{i}" })
  same('get_multi', found, (1..200).to_h { |i| ["m#{i}", i] })
  m.multi { (1..100).each { |i| m.delete("m#{i}") } }
  same('get_multi after deletes', m.get_multi((1..200).map { |i| "m#{i}" }).size, 100)

  same('cas', m.cas('a') { |v| "#{v}2" } ? true : false, true)
  same('get after cas', m.get('a'), '12')
  refused('cas that comes too late') { m.cas('a') { m.set('a', 'other'); 'late' } }
  same('get after a failed cas', m.get('a'), 'other')
  same('cas of nothing', m.cas('none') { 'x' }, nil)

  same('incr with a first value', m.incr('n', 1, nil, 10), 10)
  same('incr', m.incr('n', 5), 15)
  same('decr', m.decr('n', 100), 0)
  same('incr of nothing', m.incr('none', 1), nil)
  same('incr beyond 64 bits', [m.set('n', '18446744073709551615', nil, raw) && m.incr('n', 2)], [1])
  refused('incr of a text') { m.incr('a', 1) }
  same('get after a failed incr', m.get('a'), 'other')

  same('touch', m.touch('a', 100), true)
  refused('touch of nothing') { m.touch('none', 100) }
  same('gat', m.gat('a', 100), 'other')
  same('gat of nothing', m.gat('none', 100), nil)
  same('delete', m.delete('a'), true)
  refused('delete of nothing') { m.delete('a') }
  m.set('short', '1', 1)
  gone('an item that expires') { m.get('short') }
  m.set('long', '1')
  m.touch('long', 1)
  gone('an item that was touched to expire') { m.get('long') }

  ok('set of any bytes', m.set('bytes', every_byte, nil, raw))
  same('get of any bytes', m.get('bytes', raw), every_byte)
  ok('set of a large value', m.set('large', large, nil, raw))
  same('get of a large value', m.get('large', raw) == large, true)
  refused('set of too large a value') { m.set('large', too_large, nil, raw) }
  same('get after too large a value', m.get('large'), nil)
  ok('set after too large a value', m.set('large', '1'))
  ok('a key of 250 bytes', m.set('k' * 250, '1'))
  same('stats', m.stats.values.map { |s| s['version'] }, ['1.6.18'])
  ok('stats of settings', m.stats(:settings).values[0].key?('maxconns'))
  m.reset_stats
  ok('flush', m.flush)
  same('get after flush', m.get('b'), nil)
  m.close
end
puts "#{$made} checks, #{$failed} failed"
exit($failed.zero? && $made.positive? ? 0 : 1)
