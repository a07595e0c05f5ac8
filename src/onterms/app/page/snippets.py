"""Code that sends a message once more: curl, Python, Node.js. Credentials are named, never written out."""

import json
import shlex
from collections.abc import Sequence


def send(
    base_url: str,
    account_sid: str,
    *,
    sender: str,
    recipient: str,
    body: str,
    media_urls: Sequence[str] = (),
    status_callback: str | None = None,
) -> dict[str, str]:
    """Write code that sends from one of the account's numbers."""
    fields = [("To", recipient), ("From", sender)]
    if body or not media_urls:
        fields.append(("Body", body))
    fields += [("MediaUrl", url) for url in media_urls]
    if status_callback:
        fields.append(("StatusCallback", status_callback))
    url = f"{base_url}/2010-04-01/Accounts/{account_sid}/Messages.json"
    curl = [f"curl {shlex.quote(url)}", '  -u "$TWILIO_ACCOUNT_SID:$TWILIO_AUTH_TOKEN"']
    curl += [f"  --data-urlencode {shlex.quote(f'{name}={value}')}" for name, value in fields]

    python = ["from twilio.rest import Client", "", "client = Client()", "message = client.messages.create("]
    node = ['const client = require("twilio")();', "", "client.messages", "  .create({"]
    python += [f"    to={_literal(recipient)},", f"    from_={_literal(sender)},"]
    node += [f"    to: {_literal(recipient)},", f"    from: {_literal(sender)},"]
    if body or not media_urls:
        python.append(f"    body={_literal(body)},")
        node.append(f"    body: {_literal(body)},")
    if media_urls:
        python.append(f"    media_url={_literal(list(media_urls))},")
        node.append(f"    mediaUrl: {_literal(list(media_urls))},")
    if status_callback:
        python.append(f"    status_callback={_literal(status_callback)},")
        node.append(f"    statusCallback: {_literal(status_callback)},")
    python += [")", "print(message.sid, message.status)"]
    node += ["  })", "  .then((message) => console.log(message.sid, message.status));"]
    return {"curl": " \\\n".join(curl), "python": "\n".join(python), "node": "\n".join(node)}


def receive(base_url: str, *, handset: str, recipient: str, body: str) -> dict[str, str]:
    """Write code that sends from a virtual handset."""
    url = f"{base_url}/simulator/v1/handsets/{handset}/messages"
    data = _literal({"to": recipient, "body": body})
    curl = [f"curl {shlex.quote(url)}", "  -H 'Content-Type: application/json'", f"  -d {shlex.quote(data)}"]
    python = [
        "import json",
        "from urllib.request import Request, urlopen",
        "",
        "request = Request(",
        f"    {_literal(url)},",
        f"    json.dumps({data}).encode(),",
        '    {"Content-Type": "application/json"},',
        ")",
        "print(json.load(urlopen(request)))",
    ]
    node = [
        f"fetch({_literal(url)}, {{",
        '  method: "POST",',
        '  headers: { "Content-Type": "application/json" },',
        f"  body: JSON.stringify({data}),",
        "})",
        "  .then((response) => response.json())",
        "  .then(console.log);",
    ]
    return {"curl": " \\\n".join(curl), "python": "\n".join(python), "node": "\n".join(node)}


def _literal(value: object) -> str:
    # What JSON escapes, Python and JavaScript escape in the same way.
    return json.dumps(value, ensure_ascii=False)
