# SPDX-License-Identifier: Apache-2.0
"""Old names are still taken, and say the new one."""

import dataclasses

import pytest

from pipelines import episodes
from pipelines.index import build_index, split_pairs
from pipelines.index.__main__ import main
from pipelines.protocols import Protocol, protocol


def test_old_keywords_warn_and_mean_the_same(tiny_source):
    ids = tiny_source.image_ids("all")
    with pytest.warns(DeprecationWarning, match="rule is now pair_filter"):
        index = build_index(tiny_source, ids, rule="area2048", cache=None)
    assert index == build_index(tiny_source, ids, "area2048", cache=None)
    index = build_index(tiny_source, ids, cache=None)
    with pytest.warns(DeprecationWarning, match="novel is now novel_policy"):
        old = split_pairs(index, (1,), "base", novel="keep")
    assert old == split_pairs(index, (1,), "base", novel_policy="keep")
    fields = dataclasses.asdict(protocol("bam"))
    fields["rule"] = fields.pop("pair_filter")
    with pytest.warns(DeprecationWarning, match="pair_filter"):
        assert Protocol(**fields) == protocol("bam")
    with pytest.warns(DeprecationWarning) as caught:
        episodes("shapes", image_size=33, rule="none", novel="drop")
    # Threads of servers that earlier tests started may warn of something else meanwhile.
    renamed = [one for one in caught if one.category is DeprecationWarning]
    assert [str(one.message) for one in renamed] == [
        "rule is now pair_filter", "novel is now novel_policy"]
    assert {one.filename for one in renamed} == {__file__}
    with pytest.raises(TypeError, match="rule"):
        build_index(tiny_source, ids, rule="none", pair_filter="none")


def test_old_options_warn_and_mean_the_same(tiny, capsys):
    main(["voc", "--root", str(tiny), "--fold", "1", "--part", "base", "--rule", "none", "--novel",
          "drop"])
    old = capsys.readouterr()
    main(["voc", "--root", str(tiny), "--fold", "1", "--part", "base", "--pair_filter", "none",
          "--novel_policy", "drop"])
    assert old.out and capsys.readouterr().out == old.out
    assert "--rule is now --pair_filter" in old.err and "--novel is now --novel_policy" in old.err
