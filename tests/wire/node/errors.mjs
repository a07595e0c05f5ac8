// What is refused arrives as a RestException with Twilio's code.
import assert from "node:assert/strict";
import twilio from "twilio";

const { FROM, TO, TWILIO_ACCOUNT_SID: sid, TWILIO_AUTH_TOKEN: token } = process.env;
const client = twilio(sid, token);
const fields = { to: TO, from: FROM, body: "x" };

for (const [code, change] of [
  [21211, { to: "nobody" }],
  [21212, { from: "no sender at all?" }],
  [21266, { to: FROM }],
  [21602, { body: "" }],
  [21604, { to: "" }],
  [21606, { from: "+12125559999" }],
  [21609, { statusCallback: "no URL" }],
  [21617, { body: "a".repeat(1601) }],
  [21620, { mediaUrl: ["no URL"] }],
  [21624, { validityPeriod: 0 }],
]) {
  await assert.rejects(client.messages.create({ ...fields, ...change }), (error) => {
    assert.ok(error instanceof twilio.RestException);
    assert.deepEqual([error.code, error.status], [code, 400]);
    assert.equal(error.moreInfo, `https://www.twilio.com/docs/errors/${code}`);
    return true;
  });
}
assert.deepEqual(await client.messages.list(), []);

const wrong = twilio(sid, "0".repeat(32));
await assert.rejects(wrong.messages(`SM${"0".repeat(32)}`).fetch(), { status: 401, code: 20003 });
await assert.rejects(client.verify.v2.services.list(), { status: 501, code: 20501 });

const magic = twilio(process.env.TEST_SID, process.env.TEST_TOKEN);
await assert.rejects(magic.messages.create({ ...fields, from: "+15005550006", to: "+15005550004" }), { code: 21610 });
assert.equal((await magic.messages.create({ ...fields, from: "+15005550006" })).status, "queued");
console.log("ok");
