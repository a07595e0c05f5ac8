// Search, buy, configure, release.
import assert from "node:assert/strict";
import twilio from "twilio";

const client = twilio(process.env.TWILIO_ACCOUNT_SID, process.env.TWILIO_AUTH_TOKEN);

const [found] = await client.availablePhoneNumbers("US").local.list({ inRegion: "WA", smsEnabled: true, limit: 1 });
assert.equal(found.region, "WA");
assert.equal(found.capabilities.sms, true);
const bought = await client.incomingPhoneNumbers.create({ phoneNumber: found.phoneNumber, friendlyName: "Node" });
assert.match(bought.sid, /^PN/);
const configured = await client.incomingPhoneNumbers(bought.sid).update({
  smsUrl: "https://example.com/sms",
  smsMethod: "GET",
});
assert.deepEqual([configured.smsUrl, configured.smsMethod], ["https://example.com/sms", "GET"]);
assert.equal((await client.incomingPhoneNumbers.list({ friendlyName: "Node" })).length, 1);
await assert.rejects(client.incomingPhoneNumbers.create({ phoneNumber: found.phoneNumber }), { code: 21422 });
assert.equal(await client.incomingPhoneNumbers(bought.sid).remove(), true);
await assert.rejects(client.incomingPhoneNumbers(bought.sid).fetch(), { status: 404, code: 20404 });

const application = await client.applications.create({ friendlyName: "Node", smsUrl: "https://example.com/app" });
assert.equal((await client.applications(application.sid).fetch()).smsUrl, "https://example.com/app");
assert.equal(await client.applications(application.sid).remove(), true);
console.log("ok");
