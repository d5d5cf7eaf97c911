// What a browser sees of JupyterLab: Debian's Chromium, driven by Playwright. Runs all of notebook 01, saves it, prints
// what was seen as JSON, and keeps a picture.
//
//   node tests/node/notebook.mjs LINK PICTURE
//
// LINK is what `make notebook` prints. The README's picture is docs/pictures/notebook.png, taken exactly so.
import { openBrowser, openLab, openPage } from "./browser.mjs";

const [link, picture] = process.argv.slice(2);
const origin = new URL(link).origin;
const browser = await openBrowser();

// A page of a browser that knows nothing yet, and everything that it says and asks for.
async function open() {
  const seen = { console: [], failed: [], requests: [] };
  const page = await openPage(browser, { viewport: { width: 1280, height: 800 }, colorScheme: "light" });
  page.on("console", (message) => seen.console.push(`${message.type()}: ${message.text()}`));
  page.on("pageerror", (error) => seen.console.push(`error: ${error}`));
  page.on("request", (request) => seen.requests.push(request.url()));
  page.on("requestfailed", (request) => seen.failed.push(`${request.failure().errorText} ${request.url()}`));
  page.on("response", (reply) => reply.status() < 400 || seen.failed.push(`${reply.status()} ${reply.url()}`));
  page.on("websocket", (socket) => seen.requests.push(socket.url()));
  return [page, seen];
}

// Figures that are really drawn.
const drawn = (images) => images.filter((image) => image.checkVisibility() && image.naturalWidth > 300).length;

try {
  const [door, outside] = await open();
  await door.goto(`${origin}/lab/tree/notebooks/01-look-at-the-data.ipynb`);
  outside.address = door.url();
  outside.text = await door.locator("body").innerText();

  const [page, inside] = await open();
  // `reset` closes the tabs that were open in this checkout.
  await openLab(page, `${link}&reset`, [inside.console, inside.failed]);
  for (const name of ["notebooks", "01-look-at-the-data.ipynb"]) {
    await page.locator(".jp-DirListing-itemText", { hasText: name }).dblclick();
  }
  await page.getByText("Python 3 (ipykernel) | Idle").waitFor();
  await page.getByRole("menuitem", { name: "Run", exact: true }).click();
  await page.getByRole("menuitem", { name: "Run All Cells", exact: true }).click();
  // The last cell is the one that is active then.
  await page.locator(".jp-Cell.jp-mod-active .jp-InputPrompt", { hasText: /\d/ }).waitFor({ timeout: 120_000 });
  inside.figures = await page.locator(".jp-OutputArea img").evaluateAll(drawn);
  const saved = page.waitForResponse((reply) => reply.request().method() === "PUT" && reply.url().includes("01-look"));
  await page.keyboard.press("Control+s");
  await saved;
  inside.text = await page.locator("body").innerText();
  await page.getByRole("heading", { name: "What do they look like?" }).evaluate((title) => title.scrollIntoView());
  await page.waitForTimeout(1000); // what is above it is drawn only now
  await page.getByRole("heading", { name: "What do they look like?" }).evaluate((title) => title.scrollIntoView());
  await page.screenshot({ path: picture });
  console.log(JSON.stringify({ outside, inside }));
} finally {
  await browser.close();
}
