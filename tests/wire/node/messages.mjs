// Create, fetch, list over pages, redact, delete: twilio-node as its documentation shows it.
import assert from "node:assert/strict";
import twilio from "twilio";

const { FROM, TO } = process.env;
const client = twilio(process.env.TWILIO_ACCOUNT_SID, process.env.TWILIO_AUTH_TOKEN);

const sent = await client.messages.create({ to: TO, from: FROM, body: "Grüße from Node" });
assert.match(sent.sid, /^SM[0-9a-f]{32}$/);
assert.equal(sent.status, "queued");
assert.equal(sent.numSegments, "1");
assert.ok(sent.dateCreated instanceof Date && !Number.isNaN(sent.dateCreated.valueOf()));

const fetched = await client.messages(sent.sid).fetch();
assert.equal(fetched.body, "Grüße from Node");
assert.equal(fetched.accountSid, process.env.TWILIO_ACCOUNT_SID);

const sids = [sent.sid];
for (let number = 1; number < 7; number++) {
  sids.unshift((await client.messages.create({ to: TO, from: FROM, body: String(number) })).sid);
}
const walked = [];
await new Promise((resolve, reject) => {
  client.messages.each({ pageSize: 3, done: (error) => (error ? reject(error) : resolve()) }, (message) => {
    walked.push(message.sid);
  });
});
assert.deepEqual(walked, sids);
assert.deepEqual((await client.messages.list({ limit: 2 })).map((message) => message.sid), sids.slice(0, 2));
assert.equal((await client.messages.list({ to: TO })).length, 7);
assert.equal((await client.messages.list({ to: FROM })).length, 0);
assert.equal((await client.messages.list({ dateSentAfter: new Date(Date.now() + 86_400_000) })).length, 0);

const first = await client.messages.page({ pageSize: 3 });
const second = await first.nextPage();
assert.deepEqual(second.instances.map((message) => message.sid), sids.slice(3, 6));
const back = await second.previousPage();
assert.deepEqual(back.instances.map((message) => message.sid), sids.slice(0, 3));

// The server is at rest when its clock has taken a step of nothing.
await fetch(`${process.env.ONTERMS_URL}/simulator/v1/clock`, {
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify({ advance_s: 0 }),
});
assert.equal((await client.messages(sent.sid).fetch()).status, "delivered");
assert.equal((await client.messages(sent.sid).update({ body: "" })).body, "");
assert.equal(await client.messages(sent.sid).remove(), true);
await assert.rejects(client.messages(sent.sid).fetch(), { status: 404, code: 20404 });
console.log("ok");
