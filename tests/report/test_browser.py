"""Pages in a real browser: `pytest -m browser` (Chromium and its driver from the system, selenium from the extra)."""

import shutil

import pytest
from tests.report.example import example_report

from modelrank.report import page

CHROMIUM, DRIVER = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver (Debian: chromium-driver)"),
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium: pip install -e '.[browser]'")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for option in (*OPTIONS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(option)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return page.write(example_report(), tmp_path_factory.mktemp("page"))


@pytest.fixture
def opened(browser, written):
    """`opened(width, dark)` -> the browser with the page in it; at the end nothing may have gone wrong in it."""

    def call(width=1280, dark=False):
        mode = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [mode]})
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get(written.as_uri())
        return browser

    yield call
    assert browser.get_log("browser") == []


def value(browser, script):
    return browser.execute_script(f"return {script}")


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_but_boxes_scrolls_sideways_and_figures_follow_the_mode(opened, width, dark):
    browser = opened(width, dark)
    assert value(browser, "document.documentElement.scrollWidth") <= width
    ground = value(browser, "getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(21, 23, 26)" if dark else "rgb(255, 255, 255)")
    tick = value(browser, "getComputedStyle(document.querySelector('.panel:not([hidden]) svg text')).fill")
    assert tick == ("rgb(233, 233, 233)" if dark else "rgb(27, 27, 27)")


def rows(browser):
    return value(browser, "[...document.querySelectorAll('table')[0].tBodies[0].rows].map(r => r.cells[1].innerText)")


def test_a_click_or_a_key_on_a_head_sorts(opened):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.wait import WebDriverWait

    browser, report = opened(), example_report()
    by_accuracy = [row.model for row in sorted(report.models(), key=lambda row: -row.accuracy)]
    assert rows(browser) == [row.model for row in report.models()]
    head = next(one for one in browser.find_elements(By.CSS_SELECTOR, "th button") if one.text == "measured accuracy")
    head.click()
    WebDriverWait(browser, 5).until(lambda _: rows(browser) == by_accuracy)
    column = head.find_element(By.XPATH, "..")
    assert column.get_attribute("aria-sort") == "descending"
    head.send_keys(Keys.ENTER)
    WebDriverWait(browser, 5).until(lambda _: rows(browser) == by_accuracy[::-1])
    assert column.get_attribute("aria-sort") == "ascending"


def test_one_panel_is_shown_and_another_scorer_can_be_chosen(opened):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.select import Select

    browser = opened()
    panels = browser.find_elements(By.CLASS_NAME, "panel")
    choice = Select(browser.find_element(By.CSS_SELECTOR, ".scatter select"))
    titles = [option.text for option in choice.options]
    assert [panel.is_displayed() for panel in panels] == [title.startswith("disco") for title in titles]
    choice.select_by_index(titles.index(next(title for title in titles if title.startswith("knn"))))
    assert [panel.is_displayed() for panel in panels] == [title.startswith("knn") for title in titles]


@pytest.mark.parametrize("width", [1280, 390])
def test_a_dot_shows_its_card_by_pointer_and_by_key_and_escape_hides_it(opened, width):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    browser = opened(width)
    dot = browser.find_element(By.CSS_SELECTOR, ".panel:not([hidden]) .dot")
    card = browser.find_element(By.ID, "card")
    assert not card.is_displayed()
    browser.execute_script("arguments[0].focus()", dot)
    assert dot.get_attribute("aria-label") in card.text
    assert "groups, leading first" in card.text
    assert value(browser, "document.documentElement.scrollWidth") <= width
    ActionChains(browser).send_keys(Keys.ESCAPE).perform()
    assert not card.is_displayed()
    first = browser.find_element(By.CSS_SELECTOR, "td .here")
    ActionChains(browser).move_to_element(first).perform()
    assert card.is_displayed()
    assert card.text.startswith(first.text)
    assert "lit" in browser.find_element(By.CSS_SELECTOR, "tr[data-model]").get_attribute("class")
