// Opens a server's page in headless Chromium and tells what a person would see: page.js URL FOLDER MODEL.
// Screenshots go to FOLDER: light.png, dark.png, narrow.png. A line on standard input ("gone") says that the
// server has been ended; what the page says then is told last. Output: a JSON object a line. What is not
// there at once is waited for; after two minutes it is told as it is.
import readline from 'node:readline';
import puppeteer from 'puppeteer-core';

const [url, folder, model] = process.argv.slice(2);
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

// The first start of a browser may take its time on a machine that compiles beside it, or hang for good.
async function launch(tries) {
  try {
    return await puppeteer.launch({
      executablePath: '/usr/bin/chromium', timeout: 90000,
      args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'],
    });
  } catch (error) {
    console.error(error.message);
    if (tries <= 1) throw error;
    return launch(tries - 1);
  }
}
const browser = await launch(3);

function look() {
  const text = (from, selector) => from.querySelector(selector)?.textContent ?? '';
  return {
    state: text(document, '#state'),
    version: text(document, '#version'),
    shown: text(document, '#shown'),
    background: getComputedStyle(document.body).backgroundColor,
    figures: Object.fromEntries([...document.querySelectorAll('#figures div')].map((f) => [text(f, 'dt'), text(f, 'dd')])),
    wide: document.documentElement.scrollWidth > innerWidth,
    models: [...document.querySelectorAll('article')].map((card) => ({
      name: text(card, 'h2'),
      charts: [...card.querySelectorAll('figure')].map((figure) => ({
        title: text(figure, 'figcaption div'),
        label: figure.querySelector('svg').getAttribute('aria-label'),
        lines: [...figure.querySelectorAll('path')].map((line) => line.getAttribute('d')),
      })),
    })),
  };
}

// The charts of the model have their figures and their lines, and the answers to others' calls are counted.
function drawn(seen) {
  const charts = seen.models.find((card) => card.name === model)?.charts ?? [];
  return charts.length > 0 && !seen.figures['Predict p99, unary']?.includes('–')
    && charts.every(({ label, lines }) => !label.includes('–') && lines.every((line) => line.split(/[ML]/).length > 5));
}

async function seenWhen(page, fits) {
  for (const end = Date.now() + 120000; ; await sleep(200)) {
    const seen = await page.evaluate(look);
    if (fits(seen) || Date.now() > end) return seen;
  }
}

try {
  const page = await browser.newPage();
  page.setDefaultTimeout(90000);
  const complaints = [], hosts = new Set();
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('request', (request) => request.url().startsWith('data:') || hosts.add(new URL(request.url()).host));
  await page.setViewport({ width: 1280, height: 800 });
  await page.goto(url);
  for (const [name, scheme, width] of [['light', 'light', 1280], ['dark', 'dark', 1280], ['narrow', 'light', 400]]) {
    await page.setViewport({ width, height: 800 });
    await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
    const seen = await seenWhen(page, drawn);
    await page.screenshot({ path: `${folder}/${name}.png`, fullPage: true });
    console.log(JSON.stringify({ name, ...seen }));
  }
  await page.type('#filter', 'no such model');
  const filtered = await seenWhen(page, (seen) => seen.models.length === 0);
  console.log(JSON.stringify({ name: 'filtered', ...filtered, complaints, hosts: [...hosts] }));
  for await (const _ of readline.createInterface({ input: process.stdin })) break;
  console.log(JSON.stringify({ name: 'gone', ...(await seenWhen(page, (seen) => seen.state === 'no answer')) }));
} finally {
  await browser.close();
}
