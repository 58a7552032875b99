from swarmdem.transport.paths import HEARD_S, PEERS_MAX, SILENT_S, Paths

ASK, CHUNK = 100, 65_536


def test_bulk_goes_over_the_best_broker() -> None:
    assert Paths().choose("p", ASK, {0: 0.3, 1: 0.1, 2: 0.2}, 0.0) == 1


def test_it_stays_there_while_no_other_is_twice_as_good() -> None:
    paths = Paths()
    paths.choose("p", CHUNK, {0: 0.1, 1: 0.2}, 0.0)

    assert paths.choose("q", CHUNK, {0: 0.3, 1: 0.2}, 1.0) == 0
    assert paths.choose("q", CHUNK, {0: 0.5, 1: 0.2}, 2.0) == 1


def test_it_goes_where_the_receiver_was_heard_lately() -> None:
    paths = Paths()
    paths.heard("p", 1, 0.0, bulk=False)

    assert paths.choose("p", CHUNK, {0: 0.1, 1: 0.9}, 1.0) == 1
    assert paths.choose("p", CHUNK, {0: 0.1, 1: 0.9}, HEARD_S + 1) == 0


def test_a_chunk_goes_where_it_was_asked_for_unless_that_broker_does_badly() -> None:
    paths = Paths()
    for broker in (0, 1):
        paths.heard("p", broker, 0.0, bulk=False)
    paths.heard("p", 1, 0.0, bulk=True)

    assert paths.choose("p", CHUNK, {0: 0.1, 1: 0.3}, 1.0) == 1
    assert paths.choose("p", CHUNK, {0: 0.1, 1: 0.5}, 1.0) == 0


def test_a_question_without_an_answer_is_asked_elsewhere() -> None:
    paths = Paths()
    scores = {0: 0.1, 1: 0.3}

    assert paths.choose("p", ASK, scores, 0.0) == 0
    assert paths.choose("p", ASK, scores, SILENT_S / 2) == 0
    assert paths.choose("p", ASK, scores, SILENT_S) == 1
    assert paths.choose("p", ASK, scores, 2 * SILENT_S) == 0


def test_an_answer_ends_the_waiting() -> None:
    paths = Paths()
    scores = {0: 0.1, 1: 0.3}
    paths.choose("p", ASK, scores, 0.0)
    paths.heard("p", 0, 0.1, bulk=True)

    assert paths.choose("p", ASK, scores, 2 * SILENT_S) == 0


def test_an_answer_over_a_broker_that_is_gone_is_no_reason_to_go_there() -> None:
    paths = Paths()
    paths.heard("p", 1, 0.0, bulk=True)

    assert paths.choose("p", CHUNK, {0: 0.1}, 1.0) == 0


def test_peers_are_forgotten_when_there_are_too_many() -> None:
    paths = Paths()
    paths.heard("first", 1, 0.0, bulk=False)
    for number in range(PEERS_MAX):
        paths.heard(str(number), 0, 0.0, bulk=False)

    assert paths.brokers_of("first", 0.0) == set()
    assert paths.brokers_of("0", 0.0) == {0}
