// What a browser sees of TensorBoard inside JupyterLab: Debian's Chromium, driven by Playwright. Prints what was seen as
// JSON, and keeps a picture.
//
//   node tests/node/board.mjs LINK PICTURE
//
// LINK is what `make notebook` prints.
import { openBrowser, openLab, openPage } from "./browser.mjs";

const [link, picture] = process.argv.slice(2);
const origin = new URL(link).origin;
const browser = await openBrowser();

try {
  const seen = { errors: [], failed: [], requests: [] };
  const page = await openPage(browser, { viewport: { width: 1280, height: 900 }, colorScheme: "light" });
  page.on("pageerror", (error) => seen.errors.push(String(error)));
  page.on("request", (request) => seen.requests.push(request.url()));
  page.on("response", (reply) => reply.status() < 400 || seen.failed.push(`${reply.status()} ${reply.url()}`));
  await openLab(page, link, [seen.errors, seen.failed]);
  await page.getByText("Launcher", { exact: true }).first().waitFor();
  // As a notebook shows it: a frame in a page of JupyterLab.
  await page.evaluate((address) => {
    const frame = document.createElement("iframe");
    frame.src = address;
    frame.style = "position: fixed; inset: 0; width: 100%; height: 100%; z-index: 100000; background: white";
    document.body.append(frame);
  }, `${origin}/tensorboard/`);
  const board = page.frameLocator('iframe[src$="/tensorboard/"]');
  await board.locator("image-card img").first().waitFor({ timeout: 60_000 });
  await board.locator("scalar-card canvas, scalar-card svg").first().waitFor({ timeout: 60_000 });
  seen.images = await board.locator("image-card img").evaluateAll((all) => all.map((each) => each.naturalWidth));
  seen.text = await board.locator("body").innerText();
  await page.screenshot({ path: picture });
  console.log(JSON.stringify(seen));
} finally {
  await browser.close();
}
