"""A browser, and somebody who signs in with it."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser import FLAGS, on_path
from tests.stack import Stack


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=on_path(), args=FLAGS)
        yield chromium
        chromium.close()


def sign_in_as(page: Page, stack: Stack, name: str) -> Page:
    """The page with somebody's session, without the way through the form."""
    cookies = stack.session(name)
    page.context.add_cookies([{"name": key, "value": value, "url": stack.url} for key, value in cookies.items()])
    return page


def sign_in_by_form(page: Page, stack: Stack, name: str) -> Page:
    page.goto("/sign-in/")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(stack.password)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(lambda url: "sign-in" not in url)
    return page
