"""Elements and tables."""

from swarmdem.apps.report.html import Cell, Html, data_block, element, number, page, table


def test_every_text_is_escaped_and_html_is_not():
    made = element("p", "a < b & ", element("b", "'c'"), title='"quoted"', hidden=True, class_=None)

    assert made == '<p title="&quot;quoted&quot;" hidden>a &lt; b &amp; <b>&#x27;c&#x27;</b></p>'


def test_a_table_names_its_rows_sorts_by_exact_values_and_has_a_caption():
    made = table(
        "Two <peers>", ["peer", "#score"], [["a", number(0.12345)], ["b", number(None)]], sortable=True
    )

    assert "<caption>Two &lt;peers&gt;</caption>" in made
    assert '<th scope="col" class="n"><button type="button">score</button></th>' in made
    assert '<tr><th scope="row">a</th><td class="n" data-key="0.12345">0.123</td></tr>' in made
    assert '<tr><th scope="row">b</th><td class="n">-</td></tr>' in made


def test_data_cannot_end_the_script_element_they_stand_in():
    made = data_block({"name": "</script><b>"}, "kind")

    assert made == (
        '<script type="application/json" class="kind">{"name":"\\u003c/script>\\u003cb>"}</script>'
    )


def test_a_page_forbids_itself_to_load_anything():
    made = page("A & B", Html("<h1>x</h1>"), Html(""))

    assert "<title>A &amp; B</title>" in made
    assert "content=\"default-src 'none'; " in made
    assert "http:" not in made.replace("http://www.w3.org/2000/svg", "")
    assert "https:" not in made


def test_a_cell_without_a_key_sorts_by_its_text():
    made = table("t", ["a", "b"], [["x", Cell("shown", 2.0)], ["y", "text"]])

    assert '<td data-key="2">shown</td>' in made
    assert "<td>text</td>" in made
