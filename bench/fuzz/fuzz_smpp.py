"""Fuzz the SMPP core with atheris: `python bench/fuzz/fuzz_smpp.py [--seconds 60] [folder of what was found]`.

atheris (https://github.com/google/atheris) is no dependency; without it this says so and ends with status 77. The
corpus starts with a PDU of each kind and the receipts that SMSCs write. What must hold, whatever comes:

    a frame is read, or refused with a status; nothing else is raised
    what was read can be written, and reads as the same again, unless it has a field that must not be written
    a session answers in bytes that are frames themselves, and torn bytes lead to the same as whole ones
    text, receipts and times of what was read are read or refused
"""

import argparse
import contextlib
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

AT = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)
SKIPPED = 77
# Longer inputs find nothing that shorter ones do not, and take longer.
BYTES_MAX = 2048

try:
    import atheris
except ImportError:
    print("SKIPPED: atheris is not installed (pip install atheris)", file=sys.stderr)
    sys.exit(SKIPPED)

with atheris.instrument_imports(include=["onterms.protocols"]):
    from onterms.protocols import smpp
    from onterms.protocols.smpp import codec, pdu, receipt, text, times


COMMANDS = [int(kind.command) for kind in codec._BODIES]


def seeds() -> list[bytes]:
    """Return a PDU of each kind, and what comes in practice."""
    found = [codec.encode(kind(sequence=1)) for kind in codec._BODIES if kind is not pdu.SubmitMulti]
    to = pdu.Address(1, 1, "14155550123")
    found += [
        codec.encode(pdu.SubmitMulti(sequence=1, destinations=(to, "list", to), short_message=b"many")),
        codec.encode(pdu.BindTransceiver(sequence=1, system_id="us", password="secret", interface_version=0x34)),
    ]
    for long in ("udh", "udh16", "sar", "payload"):
        for words in ("x" * 400, "ж" * 150, "€uro" * 80):
            for part in text.parts(words, 7, long=long):
                fields: dict[str, Any] = {"source": to, "destination": to, "short_message": part.short_message}
                fields |= {name: getattr(part, name) for name in ("esm_class", "data_coding", "tlvs")}
                found.append(codec.encode(pdu.SubmitSm(sequence=3, **fields)))
    for state in smpp.MessageState:
        words, tlvs = receipt.write("1001", state, "003", AT, AT, "text")
        found.append(codec.encode(pdu.DeliverSm(sequence=4, esm_class=4, short_message=words, tlvs=tlvs)))
    for field in ("300101120000000+", "000007000000000R", "300101120000948-"):
        found.append(codec.encode(pdu.SubmitSm(sequence=5, schedule_delivery_time=field, validity_period=field)))
    # As one connection brings them, torn at the first octet's number; and bodies alone, whose header is made.
    streams = [bytes([size % 125 * 2]) + frame for size, frame in enumerate([*found, b"".join(found[:12])])]
    commands = [int.from_bytes(frame[4:8], "big") for frame in found]
    return streams + [
        bytes([COMMANDS.index(command) * 2 + 1]) + frame[16:] for command, frame in zip(commands, found, strict=True)
    ]


def check(data: bytes) -> None:
    """Hold the core to its word for one input."""
    if not data:
        return
    step, stream = max(1, data[0]), data[1:]
    if data[0] % 2:
        # Lengths that fit are rare among mutations, so these have one.
        command = COMMANDS[data[0] // 2 % len(COMMANDS)]
        stream = b"".join(number.to_bytes(4, "big") for number in (15 + len(data), command, 0, 1)) + data[1:]
    frames: list[bytes] = []
    with contextlib.suppress(codec.FramingError):
        frames += codec.Reader().feed(stream)
    for frame in frames:
        with contextlib.suppress(codec.BodyError):
            check_pdu(codec.decode(frame))
    for side in ("smsc", "esme"):
        for opens in (False, True):
            whole = heard(side, opens, [stream])
            torn = heard(side, opens, [stream[at : at + step] for at in range(0, len(stream), step)])
            # A bind is answered by the app, which here is later where more came with it.
            assert whole == torn or (side == "smsc" and opens), "torn bytes mean something else"


def check_pdu(read: Any) -> None:
    """Hold one PDU that was read."""
    # A field that was read with more than may be written, or with its end in the middle, cannot go out again.
    with contextlib.suppress(ValueError):
        again = codec.decode(codec.encode(read))
        assert again == read, "what was written reads as something else"
    if isinstance(read, pdu.SubmitSm | pdu.DeliverSm | pdu.DataSm | pdu.SubmitMulti):
        for alphabet in ("gsm", "gsm-packed", "latin-1", "ascii"):
            with contextlib.suppress(text.UnreadableContent):
                content = text.content_of(read, alphabet=alphabet)
                if content.place is not None:
                    assert 1 <= content.place.number <= content.place.total <= 255
        receipt.is_receipt(read)
        found = receipt.read(read)
        assert found is None or found.message_id
    for name in ("schedule_delivery_time", "validity_period", "final_date"):
        with contextlib.suppress(ValueError, OverflowError):
            times.read_time(getattr(read, name, ""), AT)


def heard(side: Any, opens: bool, pieces: list[bytes]) -> tuple[list[str], bytes, str]:
    """Return what a session tells of bytes, what it answers, and its state."""
    session = smpp.Session(side, 0.0)
    if opens and side == "esme":
        session.request(pdu.BindTransceiver(system_id="us"), 0.0)
    told: list[str] = []
    out = session.output()
    for piece in pieces:
        for event in session.receive(piece, 1.0):
            told.append(repr(event))
            if isinstance(event, smpp.Requested) and isinstance(event.pdu, pdu.Bind) and opens:
                told += [repr(each) for each in session.reply(event.pdu, 0, system_id="us")]
        out += session.output()
    frames = list(codec.Reader().feed(out))
    assert b"".join(frames) == out, "what goes out is no sequence of frames"
    for frame in frames:
        codec.decode(frame)
    session.tick(1e9)
    return told, out, session.state


def main() -> None:
    """Fuzz until something does not hold, or the time is over."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("corpus", type=Path, nargs="?", help="kept over runs; a temporary one else")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        corpus = options.corpus or Path(temporary)
        corpus.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(seeds()):
            (corpus / f"seed-{number:03}").write_bytes(seed)
            check(seed)
        arguments = [sys.argv[0], f"-max_total_time={options.seconds}", f"-max_len={BYTES_MAX}", "-timeout=10"]
        atheris.Setup([*arguments, "-print_final_stats=1", str(corpus)], check)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
