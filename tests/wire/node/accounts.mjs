// Subaccounts, keys, tokens.
import assert from "node:assert/strict";
import twilio from "twilio";

const { TWILIO_ACCOUNT_SID: sid, TWILIO_AUTH_TOKEN: token } = process.env;
const client = twilio(sid, token);

const made = await client.api.v2010.accounts.create({ friendlyName: "Branch" });
assert.equal(made.ownerAccountSid, sid);
const branch = twilio(made.sid, made.authToken);
assert.deepEqual(await branch.messages.list(), []);
const acting = twilio(sid, token, { accountSid: made.sid });
assert.deepEqual(await acting.messages.list(), []);
await client.api.v2010.accounts(made.sid).update({ status: "suspended" });
await assert.rejects(branch.applications.create({ friendlyName: "x" }), { status: 403, code: 20005 });
await client.api.v2010.accounts(made.sid).update({ status: "closed" });
await assert.rejects(branch.messages(`SM${"0".repeat(32)}`).fetch(), { status: 401, code: 20003 });

const key = await client.newKeys.create({ friendlyName: "worker" });
const withKey = twilio(key.sid, key.secret, { accountSid: sid });
assert.deepEqual(await withKey.messages.list(), []);
await assert.rejects(withKey.newKeys.create(), { status: 403, code: 20003 });
assert.equal(await client.keys(key.sid).remove(), true);

const secondary = await client.accounts.v1.secondaryAuthToken().create();
assert.deepEqual(await twilio(sid, secondary.secondaryAuthToken).messages.list(), []);
assert.equal(await client.accounts.v1.secondaryAuthToken().remove(), true);
console.log("ok");
