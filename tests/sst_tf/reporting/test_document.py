# SPDX-License-Identifier: Apache-2.0
"""Parts of a page as Markdown: every text is shown as it is."""

import pytest

from sst_tf.reporting.document import Heading, Items, Paragraph, Picture, Table, escape, markdown

NAMES = ("<script>alert(1)</script>", "a|b", "*a*", "_a_", "a_b", "`a`", "[a](javascript:b)",
         r"\<b>", "&lt;", "# a", "- a", "1. a", "3) a", "> a", "~~a~~", "$a$", "0.100", "-1.5")


def test_parts_become_markdown():
    text = markdown([Heading("A page", 1), Paragraph("Words."), Table(("", "IoU"), [("a", "1")]),
                     Items([("one", "a"), ("", "b")]), Picture("figures/a b.jpg", "A cup")])
    assert text == ("# A page\n\nWords.\n\n|  | IoU |\n|---|---|\n| a | 1 |\n\n- **one**: a\n- b"
                    "\n\n![A cup](figures/a%20b.jpg)\n\nA cup\n")


@pytest.mark.parametrize("name", NAMES)
def test_a_reader_of_markdown_sees_the_name(name):
    library = pytest.importorskip("markdown_it")
    parts = [Paragraph(name), Table((name, "b"), [(name, "c")]), Items.of([name])]
    tokens = library.MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(
        markdown(parts))
    shown = ["".join(child.content for child in token.children) for token in tokens
             if token.type == "inline"]
    assert shown == [name, name, "b", name, "c", name]
    assert not [token for token in tokens if token.type in ("html_block", "heading_open")]
    kinds = {child.type for token in tokens for child in token.children or ()}
    assert kinds <= {"text", "text_special"}


def test_numbers_and_words_stay_readable():
    assert escape("runs/shapes_small 0.100 .. -0.5") == "runs/shapes_small 0.100 .. -0.5"
    assert escape("two\nlines") == "two lines"
