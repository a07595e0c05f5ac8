// Messaging Services, scheduling and Content: twilio-node as its documentation shows it.
import assert from "node:assert/strict";
import twilio from "twilio";

const { NUMBER_SID, FROM, TO } = process.env;
const client = twilio(process.env.TWILIO_ACCOUNT_SID, process.env.TWILIO_AUTH_TOKEN);

const service = await client.messaging.v1.services.create({ friendlyName: "Orders", smartEncoding: false });
assert.match(service.sid, /^MG[0-9a-f]{32}$/);
assert.ok(service.dateCreated instanceof Date && !Number.isNaN(service.dateCreated.valueOf()));
await assert.rejects(
  client.messages.create({ to: TO, messagingServiceSid: service.sid, body: "x" }),
  (error) => error.code === 21704 && error.status === 400,
);
const added = await client.messaging.v1.services(service.sid).phoneNumbers.create({ phoneNumberSid: NUMBER_SID });
assert.equal(added.phoneNumber, FROM);
assert.deepEqual((await client.messaging.v1.services(service.sid).phoneNumbers.list()).map((row) => row.sid), [NUMBER_SID]);

const sent = await client.messages.create({ to: TO, messagingServiceSid: service.sid, body: "Hello" });
assert.deepEqual([sent.status, sent.from, sent.messagingServiceSid], ["accepted", null, service.sid]);

const scheduled = await client.messages.create({
  to: TO,
  messagingServiceSid: service.sid,
  body: "Later",
  scheduleType: "fixed",
  sendAt: new Date(Date.now() + 24 * 3600 * 1000),
});
assert.equal(scheduled.status, "scheduled");
assert.equal((await client.messages(scheduled.sid).update({ status: "canceled" })).status, "canceled");

const template = await client.content.v1.contents.create({
  friendly_name: "order",
  language: "en",
  variables: { 1: "friend" },
  types: { "twilio/text": { body: "Hello {{1}}, welcome" } },
});
assert.deepEqual(template.types, { "twilio/text": { body: "Hello {{1}}, welcome" } });
const filled = await client.messages.create({
  to: TO,
  messagingServiceSid: service.sid,
  contentSid: template.sid,
  contentVariables: JSON.stringify({ 1: "Ann" }),
});
assert.equal(filled.body, "Hello Ann, welcome");
const approval = await client.content.v1
  .contents(template.sid)
  .approvalCreate.create({ name: "order", category: "UTILITY" });
assert.equal(approval.status, "received");
assert.equal((await client.messages(sent.sid).feedback.create({ outcome: "confirmed" })).outcome, "confirmed");

assert.ok(await client.content.v1.contents(template.sid).remove());
assert.ok(await client.messaging.v1.services(service.sid).remove());
console.log("ok");
