"""A clip says that it is synthetic: in its tags, and in MP4 and MOV as the IPTC's XMP too."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Mapping
from pathlib import Path

# IPTC NewsCodes, digital source type: a captured picture of which a trained model drew a part
SYNTHETIC_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
_NOTE = "Synthetic media: a face in this clip was replaced (livepaste)"
_XMP_BOX = uuid.UUID("be7acfcb-97a9-42e8-9c71-999491e3afac")  # XMP specification part 3, MPEG-4
_XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">\
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" \
xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" Iptc4xmpExt:DigitalSourceType="{source_type}"/>\
</rdf:RDF></x:xmpmeta><?xpacket end="w"?>"""


def synthetic_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """A container's tags with the note put before its comment, and the source type where a container takes any tag (mkv, webm, nut)."""
    marked = dict(tags)
    comment = marked.pop("comment", marked.pop("COMMENT", ""))
    marked["comment"] = "; ".join(filter(None, [_NOTE, f"digital source type {SYNTHETIC_SOURCE_TYPE}", comment]))
    marked["digital_source_type"] = SYNTHETIC_SOURCE_TYPE
    return marked


def append_xmp(path: Path) -> None:
    """Add the XMP box to a finished MP4 or MOV file."""
    with path.open("ab") as file:
        data = _XMP_BOX.bytes + _XMP.format(source_type=SYNTHETIC_SOURCE_TYPE).encode()
        file.write(struct.pack(">I4s", len(data) + 8, b"uuid") + data)
