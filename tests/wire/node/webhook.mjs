// A webhook that trusts only what validateRequest accepts, and answers with TwiML.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { once } from "node:events";
import twilio from "twilio";

const { FROM, TO, NUMBER_SID, ONTERMS_URL, TWILIO_ACCOUNT_SID: sid, TWILIO_AUTH_TOKEN: token } = process.env;
const client = twilio(sid, token);
const heard = [];
let wanted;

const server = createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const params = Object.fromEntries(new URLSearchParams(Buffer.concat(chunks).toString("utf8")));
  const url = `${base}${request.url}`;
  const signature = request.headers["x-twilio-signature"];
  const valid = twilio.validateRequest(token, signature, url, params);
  assert.equal(twilio.validateRequest("0".repeat(32), signature, url, params), false);
  heard.push({ valid, method: request.method, path: request.url, params });
  const twiml = new twilio.twiml.MessagingResponse();
  if (request.url.startsWith("/sms")) twiml.message(`You said: ${params.Body ?? "nothing"}`);
  response.writeHead(valid ? 200 : 403, { "Content-Type": "text/xml" }).end(twiml.toString());
  wanted?.();
});
server.listen(0, "127.0.0.1");
await once(server, "listening");
const base = `http://127.0.0.1:${server.address().port}`;

async function hear(count) {
  while (heard.length < count) await new Promise((resolve) => (wanted = resolve));
  return heard.splice(0, count);
}

async function simulator(path, body) {
  const answer = await fetch(`${ONTERMS_URL}/simulator/v1${path}`, {
    method: body === undefined ? "GET" : "POST",
    headers: { "Content-Type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  assert.ok(answer.ok, await answer.clone().text());
  return answer.json();
}

await client.incomingPhoneNumbers(NUMBER_SID).update({ smsUrl: `${base}/sms?tenant=a%20b`, smsMethod: "POST" });
await simulator(`/handsets/${TO}/messages`, { to: FROM, body: "Äpfel & Birnen" });
const [inbound] = await hear(1);
assert.deepEqual([inbound.valid, inbound.method, inbound.params.Body], [true, "POST", "Äpfel & Birnen"]);

await simulator("/clock", { advance_s: 0 });
const received = await simulator(`/handsets/${TO}/messages`);
assert.deepEqual(received.map((message) => message.body), ["You said: Äpfel & Birnen"]);

await client.incomingPhoneNumbers(NUMBER_SID).update({ smsMethod: "GET" });
await simulator(`/handsets/${TO}/messages`, { to: FROM, body: "plain" });
const [got] = await hear(1);
assert.deepEqual([got.valid, got.method], [true, "GET"]);

await client.messages.create({ to: TO, from: FROM, body: "x", statusCallback: `${base}/status` });
const statuses = await hear(2);
assert.deepEqual(statuses.map((call) => [call.valid, call.params.MessageStatus]), [[true, "sent"], [true, "delivered"]]);
server.close();
server.closeAllConnections();
console.log("ok");
