// Debian's Chromium, driven by Playwright.
import { chromium } from "playwright-core";

export const openBrowser = () =>
  chromium.launch({
    executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
    args: process.getuid() === 0 ? ["--no-sandbox"] : [],
  });

// A new page. Each wait may take two minutes: other tests use the same cores.
export async function openPage(browser, options) {
  const page = await browser.newPage(options);
  page.setDefaultTimeout(120_000);
  return page;
}

// Opens JupyterLab. On a busy machine its style sheet can fail to load. JupyterLab then shows a dialog in front of
// everything until the page is loaded again. `records` are lists of what the page did: they start again with the page.
export async function openLab(page, link, records) {
  for (let attempt = 1; ; attempt++) {
    await page.goto(link);
    const failure = page.getByRole("dialog", { name: "Error Loading Theme" });
    const theme = page.locator("body[data-jp-theme-name]");
    await failure.or(theme).first().waitFor({ state: "attached" });
    if (!(await failure.isVisible())) return;
    console.error("JupyterLab did not load its theme:", ...records);
    if (attempt === 3) throw new Error("JupyterLab does not load its theme");
    for (const record of records) record.length = 0;
  }
}
