"""Settings come from app.config, then from variables; one pool serves all applications."""

from __future__ import annotations

import pytest
from flask import Flask

from commonpool import ConfigError, OwnerExecutor, current_executor
from commonpool.ext.flask import FlaskCommonPool
from commonpool.process import current_pool
from commonpool.testing import inline


def test_settings_are_read_from_the_config_of_the_application(make_app):
    make_app(COMMONPOOL_MAX_WORKERS=3, COMMONPOOL_DEADLINE=5)
    assert (current_pool().config.max_workers, current_pool().config.deadline) == (3, 5)


def test_settings_may_be_text(make_app):
    make_app(COMMONPOOL_MAX_WORKERS="3")
    assert current_pool().config.max_workers == 3


def test_settings_that_the_application_does_not_have_are_read_from_variables(make_app, monkeypatch):
    monkeypatch.setenv("COMMONPOOL_DRAIN_TIMEOUT", "4")
    make_app(COMMONPOOL_MAX_WORKERS=3)
    assert (current_pool().config.max_workers, current_pool().config.drain_timeout) == (3, 4)


def test_the_config_of_the_application_comes_before_variables(make_app, monkeypatch):
    monkeypatch.setenv("COMMONPOOL_MAX_WORKERS", "5")
    make_app(COMMONPOOL_MAX_WORKERS=3)
    assert current_pool().config.max_workers == 3


def test_an_application_without_settings_takes_those_of_the_variables(make_app, monkeypatch):
    monkeypatch.setenv("COMMONPOOL_MAX_WORKERS", "5")
    make_app()
    assert current_pool().config.max_workers == 5


def test_a_setting_that_is_empty_counts_as_unset(make_app):
    make_app(COMMONPOOL_MAX_WORKERS="")
    assert current_pool().config.max_workers == 32


def test_an_unknown_setting_is_an_error_that_names_the_nearest(make_app):
    with pytest.raises(ConfigError, match=r"COMMONPOOL_WORKERS is not a setting.*_MAX_WORKERS"):
        make_app(COMMONPOOL_WORKERS=3)


@pytest.mark.parametrize("value", [0, "many", None, 1.5])
def test_a_wrong_setting_is_an_error_that_shows_it(make_app, value):
    with pytest.raises(ConfigError, match=f"COMMONPOOL_MAX_WORKERS={value!r}: must be"):
        make_app(COMMONPOOL_MAX_WORKERS=value)


@pytest.mark.parametrize("config", [{}, {"COMMONPOOL_MAX_WORKERS": 3}])
def test_a_wrong_variable_is_an_error_whether_or_not_the_application_has_settings(
    make_app, monkeypatch, config
):
    monkeypatch.setenv("COMMONPOOL_DEADLINE", "soon")
    with pytest.raises(ConfigError, match="COMMONPOOL_DEADLINE='soon'"):
        make_app(**config)


def test_after_an_error_the_application_is_as_it_was():
    app = Flask("tests.flask")
    app.config["COMMONPOOL_MAX_WORKERS"] = 0
    wsgi_app = app.wsgi_app
    with pytest.raises(ConfigError):
        FlaskCommonPool(app)
    assert (app.wsgi_app, app.extensions) == (wsgi_app, {})


# Applications


def test_a_factory_makes_the_adapter_first_and_the_application_later():
    adapter = FlaskCommonPool()
    app = Flask("tests.flask")
    adapter.init_app(app)
    assert app.extensions["commonpool"] is adapter


def test_init_app_twice_changes_nothing():
    app = Flask("tests.flask")
    adapter = FlaskCommonPool(app)
    before = app.wsgi_app
    adapter.init_app(app)
    FlaskCommonPool(app)
    assert app.wsgi_app is before
    assert app.extensions["commonpool"] is adapter


def test_one_adapter_serves_several_applications():
    adapter = FlaskCommonPool()
    apps = [Flask("first"), Flask("second")]
    for app in apps:
        adapter.init_app(app)
        app.add_url_rule("/", view_func=lambda: str(id(current_executor().pool)))
    answers = {app.test_client().get("/").text for app in apps}
    assert answers == {str(id(current_pool()))}


def test_applications_made_again_and_again_with_the_same_settings_share_one_pool(make_app):
    for _ in range(3):
        make_app(COMMONPOOL_MAX_WORKERS=3)
    assert current_pool().config.max_workers == 3


def test_applications_with_different_settings_are_an_error_that_shows_both(make_app):
    make_app(COMMONPOOL_MAX_WORKERS=3)
    with pytest.raises(ConfigError, match=r"(?s)max_workers=3.*max_workers=4"):
        make_app(COMMONPOOL_MAX_WORKERS=4)


def test_inline_accepts_applications_with_different_settings(make_app):
    with inline():
        apps = [make_app(COMMONPOOL_MAX_WORKERS=count) for count in (3, 4)]
    assert len(apps) == 2


def test_an_application_has_its_executor_in_environ(app, visit):
    def view() -> bool:
        from flask import request  # noqa: PLC0415 - it is what users type in a view

        executor = request.environ["commonpool.executor"]
        return isinstance(executor, OwnerExecutor) and executor is current_executor()

    assert visit(app, view)


def test_one_string_is_no_collection_of_names():
    with pytest.raises(TypeError, match=r"copy_g takes .* not one string: \('user',\)"):
        FlaskCommonPool(copy_g="user")
