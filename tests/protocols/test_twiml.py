import gc
import weakref
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twilio.twiml.messaging_response import MessagingResponse
from twilio.twiml.voice_response import Dial, Gather, Say, VoiceResponse

from onterms.protocols import twiml
from onterms.protocols.twiml import schema

# Lazily loaded metadata makes a first example slow; a deadline would measure the machine.
relaxed = settings(deadline=None)

KINDS: tuple[twiml.Kind, ...] = ("Messaging", "Voice")

XML_PIECES = (
    *("<Response>", "</Response>", "<Say>", "</Say>", "<Message to='x'>", "</Message>", "<a", ">", "/>", "&#", "&a;"),
    *("<!--", "-->", "<![CDATA[", "]]>", "<?x ", "?>", "<!DOCTYPE r [", "<!ENTITY a 'b'>", "]>", "text", " ", "\x00"),
    *("<?xml version='1.0' encoding='", "utf-16", "koi8-r", "'?>", "\u00e9"),
)


def messaging(body: str) -> twiml.Document:
    return twiml.parse(body.encode(), "Messaging")


def voice(body: str) -> twiml.Document:
    return twiml.parse(body.encode(), "Voice")


def refusal(body: bytes | str, kind: Literal["Messaging", "Voice"] = "Messaging") -> twiml.TwimlError:
    with pytest.raises(twiml.TwimlError) as caught:
        twiml.parse(body.encode() if isinstance(body, str) else body, kind)
    return caught.value


class TestParse:
    def test_message_with_body_and_media(self) -> None:
        document = messaging(
            '<?xml version="1.0" encoding="UTF-8"?>\n<Response>'
            '<Message to="+14155550123" action="/next" method="POST"><Body>Hi &amp; bye</Body><Media>https://x.test/a.png</Media>'
            "</Message><Redirect>https://x.test/b?c=1&amp;d=2</Redirect></Response>"
        )
        message, redirect = document.verbs
        assert (document.kind, document.warnings) == ("Messaging", ())
        assert (message.name, message.get("to"), message.get("from", "none")) == ("Message", "+14155550123", "none")
        assert [(child.name, child.text) for child in message.children] == [
            ("Body", "Hi & bye"),
            ("Media", "https://x.test/a.png"),
        ]
        assert redirect.text == "https://x.test/b?c=1&d=2"

    def test_plain_text_of_a_message_is_trimmed_and_kept_whole(self) -> None:
        (message,) = messaging("<Response><Message>\n one<!-- x --> two<![CDATA[ <3]]>\n</Message></Response>").verbs
        assert message.text == "one two <3"
        assert message.content == ("\n one two <3\n",)

    def test_mixed_content_keeps_its_order(self) -> None:
        (say,) = voice('<Response><Say>one <break strength="weak"/> two <w>three</w></Say></Response>').verbs
        assert [part if isinstance(part, str) else part.name for part in say.content] == ["one ", "break", " two ", "w"]

    def test_long_text_is_one_run(self) -> None:
        assert messaging(f"<Response><Message>{'x' * 50_000}</Message></Response>").verbs[0].content == ("x" * 50_000,)

    def test_empty_response_has_no_verbs(self) -> None:
        assert messaging("<Response/>").verbs == ()

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
    def test_unicode_encodings_are_read(self, encoding: str) -> None:
        body = "<Response><Message>h\u00e9 \U0001f600</Message></Response>".encode(encoding)
        document = twiml.parse(body, "Messaging")
        assert document.verbs[0].text == "h\u00e9 \U0001f600"

    @pytest.mark.parametrize(("name", "codec"), [("ISO-8859-1", "latin-1"), ("windows-1252", "cp1252")])
    def test_declared_single_byte_encodings_are_read(self, name: str, codec: str) -> None:
        body = f'<?xml version="1.0" encoding="{name}"?><Response><Message>h\u00e9</Message></Response>'.encode(codec)
        assert twiml.parse(body, "Messaging").verbs[0].text == "h\u00e9"

    def test_line_of_an_element_is_known(self) -> None:
        assert messaging("<Response>\n\n<Message>x</Message></Response>").verbs[0].line == 3

    def test_what_the_sdk_writes_parses_without_warnings(self) -> None:
        sms = MessagingResponse()
        message = sms.message("hello", to="+14155550123", status_callback="https://x.test/s")
        message.media("https://x.test/a.png")
        sms.redirect("https://x.test/next", method="GET")
        assert twiml.parse(str(sms).encode(), "Messaging").warnings == ()

        call = VoiceResponse()
        gather = Gather(input="dtmf speech", num_digits=1, action="/menu")
        gather.say("Press one", voice="alice", language="en-GB")
        call.append(gather)
        dial = Dial(caller_id="+14155550123", record="record-from-answer", answer_on_bridge=True)
        dial.number("+14155550124", status_callback="/s", status_callback_event="initiated answered")
        dial.conference("room", start_conference_on_enter=True)
        dial.sip("sip:a@x.test", username="u")
        call.append(dial)
        say = Say("Hello")
        say.prosody("slow", rate="slow")
        call.append(say)
        call.connect().stream(url="wss://x.test").parameter(name="a", value="b")
        document = twiml.parse(str(call).encode(), "Voice")
        assert document.warnings == ()
        assert [verb.name for verb in document.verbs] == ["Gather", "Dial", "Say", "Connect"]


class TestWarnings:
    def test_unknown_verb_is_a_12200_warning_and_stays(self) -> None:
        document = messaging("<Response>\n<Dial>1</Dial><Message>x</Message></Response>")
        (warning,) = document.warnings
        assert (warning.code, warning.line) == (12200, 2)
        assert "Dial" in warning.message
        assert [verb.name for verb in document.verbs] == ["Dial", "Message"]

    def test_names_are_case_sensitive(self) -> None:
        assert len(messaging("<Response><message>x</message></Response>").warnings) == 1
        assert len(messaging('<Response><Message TO="+1">x</Message></Response>').warnings) == 1

    def test_unknown_attribute_is_a_12200_warning(self) -> None:
        (warning,) = messaging('<Response><Message to="+1" colour="red">x</Message></Response>').warnings
        assert warning.code == 12200
        assert "colour" in warning.message
        assert "Message" in warning.message

    def test_known_element_in_the_wrong_place_is_a_warning(self) -> None:
        assert len(voice("<Response><Number>+1</Number></Response>").warnings) == 1
        assert len(voice("<Response><Say><Play>x</Play></Say></Response>").warnings) == 1

    def test_inside_of_an_unknown_element_adds_no_warnings(self) -> None:
        assert len(voice('<Response><Foo a="b"><Bar c="d"><Say x="y"/></Bar></Foo></Response>').warnings) == 1

    def test_namespace_and_schema_attributes_are_passed_over(self) -> None:
        document = messaging(
            '<Response version="2010-04-01" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
            'xsi:noNamespaceSchemaLocation="x.xsd"><Message>x</Message></Response>'
        )
        assert document.warnings == ()

    def test_number_of_warnings_is_bounded(self) -> None:
        assert len(messaging("<Response>" + "<a/>" * 5000 + "</Response>").warnings) == 20

    def test_long_names_are_cut_in_messages(self) -> None:
        (warning,) = messaging(f"<Response><{'x' * 5000}/></Response>").warnings
        assert len(warning.message) < 200


class TestRefusals:
    @pytest.mark.parametrize(
        "body",
        [
            "",
            "   ",
            "not xml",
            "<Response>",
            "<Response><Message></Response>",
            "<Response a=b/>",
            "<Response/><Response/>",
            ' <?xml version="1.0"?><Response/>',
            "<Response>&nbsp;</Response>",
            "<Response>a & b</Response>",
            "<Response>\x00</Response>",
            b"<Response>\xff\xfe</Response>",
            "{}",
        ],
    )
    def test_what_is_not_xml_is_12100(self, body: bytes | str) -> None:
        assert refusal(body).code == 12100

    def test_place_of_the_fault_is_told(self) -> None:
        assert refusal("<Response>\n\n<Message></Response>").line == 3

    @pytest.mark.parametrize(
        "body",
        [
            "<!DOCTYPE Response><Response/>",
            '<!DOCTYPE Response SYSTEM "file:///etc/passwd"><Response/>',
            '<!DOCTYPE r [<!ENTITY x SYSTEM "http://127.0.0.1/">]><Response>&x;</Response>',
            '<!DOCTYPE r [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><Response>&b;</Response>',
            '<!DOCTYPE r [<!ENTITY % p SYSTEM "http://127.0.0.1/"> %p;]><Response/>',
        ],
    )
    def test_document_type_declaration_is_12100(self, body: str) -> None:
        assert refusal(body).code == 12100

    @pytest.mark.parametrize("name", ["rot13", "hex", "big5", "unicode_escape", "idna", "no-such", "utf-7", "zlib"])
    def test_other_encodings_are_12100(self, name: str) -> None:
        assert refusal(f'<?xml version="1.0" encoding="{name}"?><Response/>').code == 12100

    @pytest.mark.parametrize("body", ["<response/>", "<html><body/></html>", "<Say>x</Say>"])
    def test_another_root_is_12102(self, body: str) -> None:
        assert refusal(body).code == 12102

    def test_unknown_version_of_response_is_12101(self) -> None:
        assert refusal('<Response version="1999-01-01"/>').code == 12101

    def test_more_than_64_kilobytes_is_11750(self) -> None:
        frame = b"<Response></Response>"
        full = b"<Response>" + b" " * (twiml.BODY_BYTES_MAX - len(frame)) + b"</Response>"
        assert twiml.parse(full, "Messaging").verbs == ()
        assert refusal(full + b" ").code == 11750

    def test_deep_nesting_is_12100(self) -> None:
        deep = twiml.DEPTH_MAX - 1
        assert voice("<Response>" + "<p>" * deep + "</p>" * deep + "</Response>").root.name == "Response"
        assert refusal("<Response>" + "<p>" * (deep + 1) + "</p>" * (deep + 1) + "</Response>").code == 12100
        assert refusal("<Response>" + "<a>" * 15_000, "Voice").code == 12100

    def test_message_does_not_quote_the_text_of_the_document(self) -> None:
        assert "secret" not in refusal("<Response><Message>secret</Respons></Response>").message


class TestSchema:
    def test_voice_has_every_verb_and_messaging_its_two(self) -> None:
        assert set(schema.load("Messaging")["Response"]) == {"Message", "Redirect"}
        verbs = set(schema.load("Voice")["Response"])
        assert {"Say", "Play", "Dial", "Gather", "Record", "Enqueue", "Pay", "Connect", "Start", "Stop"} <= verbs

    def test_every_parent_can_be_reached_from_response(self) -> None:
        for kind in KINDS:
            table = schema.load(kind)
            reached, waiting = set(), ["Response"]
            while waiting:
                name = waiting.pop()
                if name not in reached:
                    reached.add(name)
                    waiting.extend(table.get(name, {}))
            assert set(table) <= reached


class TestFuzz:
    @relaxed
    @given(st.binary(max_size=300), st.sampled_from(KINDS))
    def test_any_bytes_give_a_document_or_a_coded_refusal(self, body: bytes, kind: twiml.Kind) -> None:
        self.check(body, kind)

    @relaxed
    @given(
        st.lists(
            st.sampled_from(XML_PIECES),
            max_size=30,
        ),
        st.sampled_from(KINDS),
    )
    def test_any_pieces_of_xml_give_a_document_or_a_coded_refusal(self, pieces: list[str], kind: twiml.Kind) -> None:
        self.check("".join(pieces).encode(), kind)

    @staticmethod
    def check(body: bytes, kind: twiml.Kind) -> None:
        try:
            document = twiml.parse(body, kind)
        except twiml.TwimlError as error:
            assert error.code in {11750, 12100, 12101, 12102}
        else:
            assert document.root.name == "Response"

    def test_parser_is_freed_without_the_garbage_collector(self) -> None:
        from onterms.protocols.twiml import parser

        gc.disable()
        try:
            running = parser._Parser("Voice")
            alive = weakref.ref(running)
            running.parse(b"<Response/>")
            del running
            assert alive() is None
        finally:
            gc.enable()
