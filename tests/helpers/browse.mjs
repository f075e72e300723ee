// A browser that does what it is told. Usage: node browse.mjs PLAYWRIGHT CHROMIUM PROFILE
//
// Each line of stdin is {"call": a method of playwright's page (or "trouble", "resize", "media"), "with": [arguments]}; each line
// of stdout is {"value"} or {"error"}. "evaluate" takes the source of an expression. "trouble" is all that the page complained of
// since the last time: errors, what its console had from warnings on, and requests that failed.
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const [playwright, executablePath, profile] = process.argv.slice(2);
const { chromium } = (await import(pathToFileURL(`${playwright}/index.js`).href)).default;
const args = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking'];
args.push('--disable-component-update', '--disable-sync');
const timeout = 600_000; // ms, after which a test fails and does not hang
const viewport = { width: 1280, height: 900 };
const context = await chromium.launchPersistentContext(profile, { executablePath, args, viewport, timeout });
const page = context.pages()[0] ?? (await context.newPage());
page.setDefaultTimeout(timeout); // of navigation, too

let trouble = [];
page.on('pageerror', (error) => trouble.push(`error: ${error.message}`));
page.on('console', (line) => ['error', 'warning'].includes(line.type()) && trouble.push(`console: ${line.text()}`));
// A test that goes on to the next page aborts what the last one still loads, its icon say: no fault of that page.
page.on('requestfailed', (request) => {
  const why = request.failure()?.errorText;
  if (why !== 'net::ERR_ABORTED') trouble.push(`request: ${request.url()}: ${why}`);
});
page.on('dialog', (dialog) => (trouble.push(`dialog: ${dialog.message()}`), dialog.dismiss()));

const own = {
  trouble: () => ([trouble, own.last] = [[], trouble]) && own.last,
  resize: (width, height) => page.setViewportSize({ width, height }),
  media: (options) => page.emulateMedia(options),
  press: (keys) => page.keyboard.press(keys),
  // Playwright's own evaluates the expression inside the page from the second time on, which the page's policy forbids.
  waitForFunction: async (expression) => {
    for (const end = Date.now() + timeout; !(await page.evaluate(expression)); ) {
      if (Date.now() > end) throw new Error(`never true: ${expression}`);
      await page.evaluate(() => new Promise(requestAnimationFrame));
    }
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const told = JSON.parse(line);
  let answer;
  try {
    const value = own[told.call] ? await own[told.call](...told.with) : await page[told.call](...told.with);
    answer = { value: ['goto', 'screenshot', 'reload', 'goBack'].includes(told.call) ? null : (value ?? null) };
  } catch (error) {
    answer = { error: String(error.message ?? error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await context.close();
