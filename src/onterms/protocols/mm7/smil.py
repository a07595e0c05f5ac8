"""The presentation of an MM: SMIL, one slide a picture.

Source: OMA MMS Conformance Document 1.3, 7.1: the two regions and the elements that handsets know.
"""

from collections.abc import Sequence
from xml.sax.saxutils import quoteattr

from onterms.protocols.mm7.messages import File

# Handsets turn slides by themselves after this; who reads may turn back.
_SLIDE_MS = 5000

_TAGS = {"image": "img", "audio": "audio", "video": "video", "text": "text"}


def presentation(files: Sequence[File]) -> bytes:
    """Write the presentation of files: each picture or film has a slide, and the text stands on the first."""
    texts = [file for file in files if file.content_type == "text/plain"]
    shown = [file for file in files if file.content_type != "text/plain" and _tag(file)]
    slides: list[str] = []
    for number in range(max(len(shown), 1)):
        inside = [_element(file) for file in shown[number : number + 1]]
        if number == 0:
            inside += [_element(file) for file in texts]
        if inside:
            slides.append(f'<par dur="{_SLIDE_MS}ms">{"".join(inside)}</par>')
    return (
        '<smil><head><layout><root-layout width="100%" height="100%"/>'
        '<region id="Image" left="0" top="0" width="100%" height="70%" fit="meet"/>'
        '<region id="Text" left="0" top="70%" width="100%" height="30%" fit="scroll"/>'
        f"</layout></head><body>{''.join(slides)}</body></smil>"
    ).encode()


def _tag(file: File) -> str:
    # What has no tag, such as a calendar entry, is an attachment that the handset lists.
    kind = file.content_type.partition("/")[0]
    return "" if kind == "text" and file.content_type != "text/plain" else _TAGS.get(kind, "")


def _element(file: File) -> str:
    region = {"img": ' region="Image"', "video": ' region="Image"', "text": ' region="Text"'}.get(_tag(file), "")
    return f"<{_tag(file)} src={quoteattr('cid:' + file.content_id)}{region}/>"
