"""`swarmdem report`: whole pages, whatever is in the folder."""

import re
from html.parser import HTMLParser

import pytest

from swarmdem.apps import cli
from swarmdem.apps.ledger import ledger_of_run
from swarmdem.apps.report.command import experiment_page, run_page, write_report
from swarmdem.errors import ConfigError, DataError
from tests.apps.report.journals import troubled_run
from tests.apps.run_folders import row, write_experiment, write_run

VOID = {"meta", "link", "input", "br", "hr", "img"}
SECTIONS = ("curves", "groups", "peers", "aggregators", "bytes", "incidents", "settings")


class Page(HTMLParser):
    """Collects what a page consists of and complains about elements that do not nest."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.links, self.text = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.ids += [found["id"]] if "id" in found else []
        self.links += [found[name] for name in ("href", "src", "xlink:href") if name in found]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def troubled(tmp_path_factory):
    """A run in which much went wrong, and its page."""
    folder = troubled_run(tmp_path_factory.mktemp("runs") / "run")
    return folder, run_page(folder)


def test_a_page_has_every_section_and_refers_to_nothing_but_itself(troubled):
    page = Page(troubled[1])

    assert set(SECTIONS) < set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert {link for link in page.links if not link.startswith("#")} == {"data:,"}
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)


def test_bytes_are_told_by_kind_in_words(troubled):
    text = troubled[1]

    assert (
        "All peers together sent 6.0 kB in 4 frames up to the ends of their last rounds "
        "(5.0 kB until the run had heard of them); 90.0% of the bytes were pieces of models"
    ) in text
    assert "<code>digest</code>" in text


def test_bytes_a_peer_and_round_are_those_that_the_run_ended_with(troubled):
    folder, text = troubled

    told = ledger_of_run(folder / "peers").as_mapping()
    assert [told["kinds"][kind]["bytes_sent"] for kind in told["kinds"]] == [2400.0], "the first is left out"
    chunks = text.partition("<code>chunk</code>")[2].partition("</tr>")[0]
    assert "2,400" in chunks
    assert "2,700" not in chunks
    assert "Of control traffic the median peer sent 0 and received 0 bytes a round*." in text


def test_the_only_evaluated_round_is_a_table_for_a_curve_would_be_a_dot(tmp_path, troubled):
    one = Page(run_page(write_run(tmp_path / "one", [row(1), row(2, 0.5)])))
    two = Page(troubled[1])

    assert "Round 2, the only one evaluated so far: accuracy" in one.text
    assert not [text for text in two.text if "the only one evaluated so far" in text]
    assert [text for text in one.text if text.startswith("peers, after the update")]
    assert "the root (Global)" in one.text
    assert "the root (Global)" not in two.text
    assert not [text for text in one.text if "a peer's model on its own test data" in text]
    assert [text for text in two.text if "a peer's model on its own test data" in text]


def test_a_run_of_one_round_has_no_curve_of_costs(tmp_path, troubled):
    one = run_page(write_run(tmp_path / "one", [row(1, 0.4)]))

    assert "what a round costs all peers together" not in one
    assert "what a round costs all peers together" in troubled[1]


def test_cpu_time_of_rounds_and_of_the_whole_run_are_told_apart(tmp_path):
    folder = write_run(tmp_path / "run", [row(1, cpu_s=2.0), row(2, 0.5, cpu_s=3.0)])
    (folder / "summary.json").write_text('{"cpu_s": 12.5}')

    facts = re.sub("<[^>]+>", " ", run_page(folder))

    assert re.search(r"CPU time in rounds\s+5\.0 s\s+CPU time with starting up\s+12\.5 s", facts)


def test_what_was_chosen_is_told_with_its_reason(tmp_path):
    folder = write_run(tmp_path / "run", [row(1, 0.5)])
    with (folder / "run.toml").open("a") as file:
        file.write('[[chosen]]\nsetting = "vectorise"\nvalue = "off"\nwhy = "too slow"\nworker = 1\n')

    text = run_page(folder)

    assert "What was chosen where the settings leave it open" in text
    assert "worker 1: too slow" in text


def test_an_unfinished_run_says_so_and_names_what_is_missing(tmp_path):
    text = run_page(write_run(tmp_path / "run", [row(1)], rounds=9, trees=False))

    assert "unfinished, 1 of 9 rounds" in text
    assert "Missing in this folder: trees.jsonl, summary.json." in text
    assert "No round has been evaluated yet." in text
    assert "No tree of groups was written." in text
    assert "hold no traffic lines" in text


def test_a_run_that_has_only_its_settings_is_reported(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.toml").write_text("")

    text = run_page(tmp_path / "run")

    assert "unfinished, 0 of an unknown number of rounds" in text
    assert "Missing in this folder: rounds.jsonl, trees.jsonl, peers, summary.json." in text


def test_nothing_from_a_run_becomes_markup(tmp_path):
    folder = write_run(tmp_path / "run", [row(1), row(2, 0.5)])
    evil = "</script><img src=x onerror=alert(1)>"
    with (folder / "run.toml").open("a") as file:
        file.write(
            f"[versions]\n\"{evil}\" = '{evil}'\n[[resumed]]\nstarted = '{evil}'\nstrategy = '{evil}'\n"
        )
    (folder / "peers" / "aa11.jsonl").write_text(f'{{"event":"degraded","what":"{evil}"}}\n')

    text = run_page(folder)
    page = Page(text)

    assert evil not in text
    assert any(evil in text for text in page.text)
    assert "x" not in page.links


def test_an_experiment_has_its_variants_and_the_sections_of_every_run(tmp_path):
    runs = {0: [row(1, 0.3), row(2, 0.4)], 1: [row(1, 0.3), row(2, 0.6)]}
    folder = write_experiment(
        tmp_path / "tiny",
        [("plain", runs, {}), (r"$\frac$ <b>", {0: [row(1, 0.2), row(2, 0.3)]}, {}), ("open", {0: []}, {})],
    )

    text = experiment_page(folder)
    page = Page(text)

    assert "3 variants, 4 runs: 3 finished, 1 not begun." in text
    assert '<td class="n" data-key="0.4">0.400<span class="deviation"> ± 0.071</span></td>' in text
    assert r"$\frac$ &lt;b&gt;" in text
    assert "open, seed 0: not begun." in text
    assert {f"run-runs_plain-s1-{name}" for name in SECTIONS} < set(page.ids)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)


def test_the_same_folder_gives_the_same_page(troubled):
    folder, text = troubled

    assert run_page(folder) == text


def test_the_page_goes_into_the_folder_or_where_it_is_wanted(tmp_path):
    folder = write_run(tmp_path / "run", [row(1)])

    assert write_report(folder) == folder / "report.html"
    assert write_report(folder, tmp_path / "page.html").read_text() == (folder / "report.html").read_text()


def test_what_is_no_run_is_refused_with_a_line(tmp_path):
    with pytest.raises(DataError, match=r"nowhere: no such folder"):
        write_report(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"neither a run folder \(no run.toml\) nor an experiment's"):
        write_report(tmp_path)
    with pytest.raises(ConfigError, match=r"--out .*: No such file or directory"):
        write_report(write_run(tmp_path / "run", [row(1)]), tmp_path / "none" / "page.html")


def test_the_command_prints_the_path_and_leaves_with_2_on_a_bad_folder(tmp_path, monkeypatch, capsys):
    folder = write_run(tmp_path / "run", [row(1)])
    monkeypatch.setattr("sys.argv", ["swarmdem", "report", str(folder)])
    with pytest.raises(SystemExit, match="0"):
        cli.main()
    assert capsys.readouterr().out == f"{folder / 'report.html'}\n"

    monkeypatch.setattr("sys.argv", ["swarmdem", "report", str(tmp_path)])
    with pytest.raises(SystemExit, match="2"):
        cli.main()
    assert re.fullmatch(r"swarmdem: .*neither a run folder.*\n", capsys.readouterr().err)


def test_the_page_says_how_many_peers_stand_behind_a_certificate(tmp_path):
    rows = [row(1, certified_by=[4]), row(2, certified_by=[3, 1])]

    text = " ".join(Page(run_page(write_run(tmp_path / "run", rows))).text)

    assert "2 of 2, 1 of them not by all peers" in text
    assert "yes, by 3 + 1" in text


def test_the_settings_are_those_in_force_after_a_resumption(tmp_path):
    folder = write_run(tmp_path / "run", [row(1), row(2)], rounds=1)
    with (folder / "run.toml").open("a") as file:
        file.write('[[resumed]]\nstarted = "now"\ncommand = "swarmdem swarm --resume run"\nrounds = 31\n')

    assert "31" in Page(run_page(folder)).text
