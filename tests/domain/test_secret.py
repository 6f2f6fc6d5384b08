"""Keys and sessions: made, told apart, kept as hashes."""

import re

import pytest

from constellation_pipelines.domain import secret
from constellation_pipelines.domain.account import Scope, check_name
from constellation_pipelines.domain.errors import InvalidInput


def test_a_key_has_a_prefix_and_256_random_bits() -> None:
    keys = [secret.new_key() for _ in range(100)]
    assert len({key.text for key in keys}) == 100
    for key in keys:
        assert re.fullmatch(r"cst_[a-z2-7]{8}_[\w-]{43}", key.text)
        assert secret.prefix_of(key.text) == key.prefix
        assert key.hash == secret.hashed(key.text)
        assert len(key.hash) == 32


def test_a_key_does_not_show_itself() -> None:
    key = secret.new_key()
    assert key.text not in repr(key)


@pytest.mark.parametrize(
    "text",
    ["", "cst_", "cst_abcdefgh_", "CST_abcdefgh_" + "x" * 43, "cst_abcdefgh_" + "x" * 44, "x\n"],
)
def test_what_is_no_key_has_no_prefix(text: str) -> None:
    assert secret.prefix_of(text) is None


def test_a_session_is_no_key_and_a_key_no_session() -> None:
    session, key = secret.new_session(), secret.new_key().text
    assert secret.is_session(session)
    assert not secret.is_session(key)
    assert secret.prefix_of(session) is None
    assert not secret.is_session(session + "\n")


def test_a_csrf_token_belongs_to_one_session() -> None:
    one, other = secret.new_session(), secret.new_session()
    assert secret.is_csrf_token(one, secret.csrf_token(one))
    assert not secret.is_csrf_token(other, secret.csrf_token(one))
    assert one not in secret.csrf_token(one)
    for wrong in ("", "\xff", "0" * 64):
        assert not secret.is_csrf_token(one, wrong)


def test_scopes_open_what_the_ones_before_them_do() -> None:
    viewer, operator, admin = Scope
    assert [held.covers(operator) for held in (viewer, operator, admin)] == [False, True, True]


@pytest.mark.parametrize("name", ["ann", "ann@eo.example", "auth0|5f7c", "A" * 100, "x:y+z-1_2"])
def test_names_that_accounts_may_have(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "A" * 101, "system", " ann", "ann\n", "a b", "-a", "a/b", "a*", "\u00e4nn", "a\x00"],
)
def test_names_that_they_may_not(name: str) -> None:
    with pytest.raises(InvalidInput, match="cannot name an account"):
        check_name(name)
