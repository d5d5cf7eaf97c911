// What a browser sees of the server's page: Debian's Chromium, driven by Playwright, on a desk and on a phone. Gives it
// pictures in every way there is, ends the server, prints what was seen as JSON, and keeps pictures.
//
//   node tests/node/page.mjs LINK PID GARMENT FOLDER
//
// LINK is what `make serve` prints, PID the server's, GARMENT a picture of a garment, a PNG. The README's picture is
// docs/pictures/page.png, taken exactly so.
import { readFileSync } from "node:fs";
import { openBrowser, openPage } from "./browser.mjs";

const [link, pid, garment, folder] = process.argv.slice(2);
const content = readFileSync(garment);
const browser = await openBrowser();

async function open(options) {
  const seen = { console: [], failed: [], requests: [], sent: [], said: {} };
  const page = await openPage(browser, options);
  page.on("console", (message) => seen.console.push(`${message.type()}: ${message.text()}`));
  page.on("pageerror", (error) => seen.console.push(`error: ${error}`));
  page.on("request", (request) => {
    seen.requests.push(request.url());
    if (request.method() === "POST") seen.sent.push(request.headers()["content-type"]);
  });
  page.on("requestfailed", (request) => seen.failed.push(`${request.failure().errorText} ${request.url()}`));
  page.on("response", (reply) => reply.status() < 400 || seen.failed.push(`${reply.status()} ${reply.url()}`));
  await page.addInitScript(() => {
    const ask = window.fetch;
    window.fetch = (address, options) => ask(address, ((window.sent = options.body.size), options)); // bytes
  });
  await page.goto(link);
  return [page, seen];
}

// What the page says once it has something new to say.
async function verdict(page, doing) {
  await page.evaluate(() => (document.getElementById("verdict").textContent = "…"));
  await doing();
  await page.waitForFunction(() => !/…$/.test(document.getElementById("verdict").textContent));
  return page.locator("#verdict").innerText();
}

// A drop or a paste as the browser would make it from a file of another program.
const hand = (page, kind, name, type, bytes) =>
  page.evaluate(
    ([kind, name, type, bytes]) => {
      const carried = new DataTransfer();
      carried.items.add(new File([new Uint8Array(bytes)], name, { type }));
      const event = kind === "paste" ? new ClipboardEvent(kind, { clipboardData: carried, bubbles: true }) : new DragEvent(kind, { dataTransfer: carried, bubbles: true });
      document.body.dispatchEvent(event);
    },
    [kind, name, type, [...bytes]],
  );

async function visit(name, options) {
  const [page, seen] = await open(options);
  const say = async (what, doing) => (seen.said[what] = await verdict(page, doing));
  const give = (id, file) => page.locator(id).setInputFiles(file);
  const file = { name: "picture.png", mimeType: "image/png", buffer: content };
  await say("chosen", () => give("#file", file));
  await say("photo", () => give("#camera", file));
  await say("dropped", () => hand(page, "drop", "picture.png", "image/png", content));
  await say("pasted", () => hand(page, "paste", "picture.png", "image/png", content));
  await say("text", () => hand(page, "drop", "notes.txt", "text/plain", [104, 105]));
  await say("broken", () => give("#file", { name: "broken.png", mimeType: "image/png", buffer: content.subarray(0, content.length / 2) }));
  const nasty = "<img src=x onerror=document.title='owned'>.txt";
  await say("nasty", () => hand(page, "drop", nasty, "text/plain", [104, 105]));
  await say("sample", async () => {
    await page.locator("#samples button").first().focus();
    await page.keyboard.press("Enter"); // with the keyboard alone
  });
  seen.sampleLabel = await page.locator("#samples button").first().getAttribute("title");
  await say("large", () => give("#file", `${folder}/large.jpg`));
  seen.largeSent = [seen.sent.at(-1), await page.evaluate(() => window.sent)];
  await say("gif", () => give("#file", `${folder}/picture.gif`));
  seen.gifSent = [seen.sent.at(-1)];
  await say("empty", () => give("#file", `${folder}/empty.png`));
  await say("last", () => give("#file", file));
  seen.title = await page.title();
  seen.bars = await page.locator("#bars tr").count();
  seen.seen = await page.locator("#seen").evaluate((image) => [image.naturalWidth, image.naturalHeight]);
  seen.widest = await page.locator(".bar").evaluateAll((bars) => Math.max(...bars.map((bar) => bar.clientWidth)));
  seen.unnamed = await page.locator("button, input, img").evaluateAll((all) =>
    all.filter((each) => each.checkVisibility() && !(each.ariaLabel || each.innerText || each.labels?.[0]?.innerText || (each.tagName === "IMG" && each.hasAttribute("alt")))).map((each) => each.outerHTML),
  );
  seen.overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  await page.screenshot({ path: `${folder}/${name}.png`, fullPage: true });
  return [page, seen];
}

try {
  const [desk, onDesk] = await visit("desk", { viewport: { width: 1100, height: 800 }, colorScheme: "light" });
  const [phone, onPhone] = await visit("phone", { viewport: { width: 360, height: 780 }, colorScheme: "dark", isMobile: true, hasTouch: true });
  const before = [onDesk, onPhone].map((seen) => structuredClone(seen));
  process.kill(Number(pid), "SIGTERM");
  const gone = {};
  // It still answers for a moment on connections that are open.
  for (const [name, page] of [["desk", desk], ["phone", phone]]) {
    for (let left = 100; left && !gone[name]?.startsWith("The server"); left--) {
      gone[name] = await verdict(page, () => page.locator("#samples button").first().click());
      await page.waitForTimeout(100);
    }
  }
  console.log(JSON.stringify({ desk: before[0], phone: before[1], gone }));
} finally {
  await browser.close();
}
