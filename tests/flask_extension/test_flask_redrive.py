"""``flask timers redrive``: the command line's, on the app's client."""

from dead import dead_letter_all
from front_ends import Home


def test_dead_letters_are_redriven(app, client, key_names, server_url):
    client.schedule("x", "invoices", timer_id="42")
    home = Home(key_names, server_url)
    (dead_id,) = dead_letter_all(home)
    home.redis.close()

    words = ["timers", "redrive", "invoices:dead", dead_id.decode()]
    result = app.test_cli_runner().invoke(args=words, catch_exceptions=False)

    assert (result.exit_code, result.output) == (0, "1 timer redriven\n")
    assert client.get_pending_timers("invoices") == ["42"]
