// What a browser sees of a server's page whose form is a table or a text: fills in every field, asks, and prints what
// was seen as JSON.
//
//   node tests/node/form.mjs LINK VALUE…
import { openBrowser, openPage } from "./browser.mjs";

const [link, ...values] = process.argv.slice(2);
const browser = await openBrowser();
try {
  const page = await openPage(browser, { viewport: { width: 360, height: 780 } });
  const console_ = [];
  page.on("console", (message) => console_.push(message.text()));
  page.on("pageerror", (error) => console_.push(String(error)));
  await page.goto(link);
  const fields = page.locator("#fields label");
  const labels = await fields.evaluateAll((all) => all.map((each) => each.firstChild.textContent));
  for (const [place, value] of values.entries()) await fields.nth(place).locator("input, textarea").fill(value);
  await page.locator("#ask button").click();
  await page.waitForFunction(() => !/^Nothing yet|…$/.test(document.getElementById("verdict").textContent));
  const verdict = await page.locator("#verdict").innerText();
  const warnings = await page.locator("#warnings li").allInnerTexts();
  const pictures = await page.locator("#drop, .pictures, #try").evaluateAll((all) => all.filter((each) => each.checkVisibility()).length);
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  console.log(JSON.stringify({ labels, verdict, warnings, pictures, overflow, console: console_ }));
} finally {
  await browser.close();
}
