// SPDX-License-Identifier: MIT
// What mailauth's parts cost, on the messages and DNS records that come as JSON on standard input;
// prints JSON.  Its main module wants a newer node than its parts do.
'use strict'

const { createRequire } = require('node:module')
const { readFileSync } = require('node:fs')

const mailauth = createRequire(`${process.argv[2]}/`)
const { spf } = mailauth('mailauth/lib/spf')
const { dkimVerify } = mailauth('mailauth/lib/dkim/verify')
const { dmarc } = mailauth('mailauth/lib/dmarc')

const given = JSON.parse(readFileSync(0, 'utf8'))

async function resolver(name, type) {
  if (type === 'TXT' && given.texts[name]) return [[given.texts[name]]]
  throw Object.assign(new Error(`${name} has no ${type}`), { code: 'ENOTFOUND' })
}

const checks = {
  SPF: async () => {
    const query = { sender: given.sender, ip: given.client, helo: given.hello, mta: 'mx.example.test' }
    return [(await spf({ ...query, resolver })).status.result]
  },
  DMARC: async () => {
    const found = { headerFrom: given.domain, spfDomains: [{ domain: given.domain }] }
    const signed = [{ id: '1', domain: given.domain }]
    return [(await dmarc({ ...found, dkimDomains: signed, resolver })).status.result]
  },
}
for (const [what, text] of Object.entries(given.messages)) {
  const message = Buffer.from(text, 'latin1')
  checks[what] = async () => (await dkimVerify(message, { resolver })).results.map((each) => each.status.result)
}

async function microseconds(what) {
  const started = process.cpuUsage()
  let number = 0
  let spent = 0
  while (spent < given.seconds * 1e6) {
    const results = await checks[what]()
    if (!results.length || results.some((result) => result !== 'pass')) {
      throw new Error(`${what}: ${results}`)
    }
    const { user, system } = process.cpuUsage(started)
    spent = user + system
    number += 1
  }
  return spent / number
}

async function main() {
  const costs = {}
  // The first round is for the compiler.
  for (let round = 0; round <= given.rounds; round += 1) {
    for (const what of Object.keys(checks)) {
      const cost = await microseconds(what)
      if (round) (costs[what] ??= []).push(cost)
    }
  }
  console.log(JSON.stringify(costs))
}

main()
