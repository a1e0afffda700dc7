"""The messages by which the troubleshooting page is searched are those that are printed."""

import re

from doc_pages import ROOT

# Of Python, of the system, of torch, of torchvision and of mmengine.
FOREIGN = {
    "operator torchvision::nms does not exist",
    "RuntimeError",
    "ImportError: libGL.so.1",
    "no kernel image is available for execution on the device",
    "No module named 'mmseg'",
    "SegLocalVisualizer is not in the mmengine::visualizer registry",
    "CUDA out of memory",
    "DataLoader worker (pid 1234) is killed by signal",
    "GPU number: 1",
    "automatically reverted to BatchNormXd layers",
    "Name or service not known",
    "EOFError: Ran out of input",
    "pickle data was truncated",
}


def test_the_messages_are_those_of_the_program():
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    headings = re.findall(r"^\*\*(.*?)\*\*", page, flags=re.S | re.M)
    quoted = {" ".join(text.split()) for heading in headings for text in re.findall(r"`([^`]+)`", heading)} - {"-"}
    assert quoted >= FOREIGN and len(quoted - FOREIGN) > 5
    sources = "\n".join(file.read_text(encoding="utf-8") for file in (ROOT / "gcseg").rglob("*.py"))
    sources = re.sub(r"""(["'])\s*\n\s*f?\1""", "", sources)  # literals that go over several lines
    missing = []
    for message in sorted(quoted - FOREIGN):
        parts = [re.escape(part.strip()) for part in re.split(r"\d+|\.\.\.", message)]  # between are values
        if not re.search(r"[^\n]{0,80}?".join(parts), sources):
            missing.append(message)
    assert missing == []
