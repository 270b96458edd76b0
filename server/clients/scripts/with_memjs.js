// memjs, which speaks the binary protocol. The last argument is a directory with node_modules.
'use strict'

const [host, port, , modules] = process.argv.slice(2)
let memjs
try {
  memjs = require(require.resolve('memjs', { paths: [modules || '.'] }))
} catch (e) {
  console.log('memjs is missing: ' + e.message.split('\n')[0])
  process.exit(77)
}

let made = 0
let failed = 0

function ok (name, good, found) {
  made++
  if (good) return
  failed++
  console.log('FAIL memjs: ' + name + ': found ' + String(found).slice(0, 200))
}

function same (name, found, expected) {
  if (Buffer.isBuffer(found)) found = found.toString('latin1')
  ok(name, found === expected, found)
}

async function refused (name, promise) {
  try {
    ok(name, (await promise) === false, 'success')
  } catch (e) {
    ok(name, true)
  }
}

async function gone (name, read) {
  let found
  for (let i = 0; i < 300; i++) {
    found = await read()
    if (found === null) break
    await new Promise(resolve => setTimeout(resolve, 100))
  }
  ok(name, found === null, found)
}

async function run () {
  const m = memjs.Client.create(`${host}:${port}`, { timeout: 30, retries: 0, logger: { log () {} } })
  const value = async key => (await m.get(key)).value
  await m.flush()
  same('get of nothing', await value('a'), null)
  same('set', await m.set('a', '1', {}), true)
  same('get', await value('a'), '1')
  same('add of what there is', await m.add('a', '3', {}), false)
  same('add', await m.add('b', '3', {}), true)
  same('replace of nothing', await m.replace('c', '3', {}), false)
  same('replace', await m.replace('b', '4', {}), true)
  same('append', await m.append('b', '5'), true)
  same('get after append', await value('b'), '45')
  same('prepend', await m.prepend('b', '3'), true)
  same('length after prepend', (await value('b')).length, 3) // memjs 1.3.2 appends instead
  await refused('append to nothing', m.append('none', '5'))

  const many = Array.from({ length: 200 }, (_, i) => i)
  await Promise.all(many.map(i => m.set('m' + i, String(i), {})))
  const got = await Promise.all(many.map(i => value('m' + i)))
  ok('gets at once', got.every((v, i) => v !== null && v.toString() === String(i)), got)

  same('increment with a first value', (await m.increment('n', 1, { initial: 10 })).value, 10)
  same('increment', (await m.increment('n', 5, { initial: 10 })).value, 15)
  same('decrement', (await m.decrement('n', 100, { initial: 10 })).value, 0)
  await refused('increment of a text', m.set('t', 'text', {}).then(() => m.increment('t', 1, { initial: 1 })).then(r => r.success))

  same('touch', await m.touch('a', 100), true)
  same('touch of nothing', await m.touch('none', 100), false)
  same('delete', await m.delete('a'), true)
  same('delete of nothing', await m.delete('a'), false)
  await m.set('short', '1', { expires: 1 })
  await gone('an item that expires', () => value('short'))

  const bytes = Buffer.alloc(1024, Buffer.from(Array.from({ length: 256 }, (_, i) => i)))
  same('set of any bytes', await m.set('bytes', bytes, {}), true)
  ok('get of any bytes', bytes.equals(await value('bytes')))
  const large = Buffer.alloc(960000, '0123456789abcdef')
  same('set of a large value', await m.set('large', large, {}), true)
  ok('get of a large value', large.equals(await value('large')))
  await refused('set of too large a value', m.set('large', Buffer.alloc(1 << 20, 'x'), {}))
  same('get after too large a value', await value('large'), null)
  same('set after too large a value', await m.set('large', '1', {}), true)
  same('a key of 250 bytes', await m.set('k'.repeat(250), '1', {}), true)

  const stats = await new Promise((resolve, reject) => m.stats((e, server, s) => e ? reject(e) : resolve(s)))
  same('stats', stats.version, '1.6.18')
  await m.flush()
  same('get after flush', await value('b'), null)
  m.quit()
}

run().then(() => {
  console.log(`${made} checks, ${failed} failed`)
  process.exit(failed || !made ? 1 : 0)
}, e => {
  console.log('FAIL memjs: ' + e.stack)
  process.exit(1)
})
