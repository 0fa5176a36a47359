// The genome browser: igv.js is run when its section comes near, and gets all that it shows from this page.
(function () {
  const box = document.getElementById("igv-box");
  if (box === null) return;
  const held = JSON.parse(document.getElementById("genome-data").textContent);
  const status = document.getElementById("genome-status");
  const missing = -32768;
  const marginBp = 3000; // of N around the stretches: igv.js draws letters only where one piece holds all that it asks for
  const letterPx = 3.5; // the narrowest base that is drawn as a letter
  const colors = { A: "#2e9f4f", C: "#3b6fd4", G: "#f0a30a", T: "#d8423d", N: "#8a94a0" };
  let started = null;

  function fasta() {
    const lines = [];
    let piece = null;
    function end() {
      const tail = Math.min(marginBp, held.sizes[piece.chrom] - piece.end);
      lines.push(`>${piece.chrom}:${piece.first + 1}-${piece.end + tail} @len=${held.sizes[piece.chrom]}`,
        piece.parts.join("") + "N".repeat(tail));
    }
    held.stretches.forEach(function (one) {
      if (piece === null || piece.chrom !== one.chrom || one.start - piece.end > 2 * marginBp) {
        if (piece !== null) end();
        const first = Math.max(0, one.start - marginBp);
        piece = { chrom: one.chrom, first: first, end: first, parts: [] };
      }
      piece.parts.push("N".repeat(one.start - piece.end), one.sequence);
      piece.end = one.start + one.sequence.length;
    });
    end();
    return "data:text/plain;base64," + btoa(lines.join("\n") + "\n");
  }

  function bars() {
    return held.stretches.flatMap(function (one) {
      const bytes = Uint8Array.from(atob(one.values), (char) => char.charCodeAt(0));
      const units = new DataView(bytes.buffer);
      return Array.from(one.sequence, (base, i) => ({
        chr: one.chrom, start: one.start + i, end: one.start + i + 1, value: units.getInt16(2 * i, true), base: base,
      })).filter((bar) => bar.value !== missing).map((bar) => ({ ...bar, value: bar.value * held.step }));
    });
  }

  function config() {
    const [pos, neg] = ["#0072b2", "#d55e00"];
    return {
      reference: { id: "regions", name: "regions of this page", fastaURL: fasta(), indexed: false },
      locus: held.locus,
      tracks: [
        { type: "wig", name: held.label, features: bars(), color: pos, altColor: neg, autoscale: true, height: 130 },
        ...held.tracks.map((track) => ({
          type: "annotation", displayMode: "EXPANDED", height: 55, ...track,
        })),
      ],
      loadDefaultGenomes: false, // it would fetch its list from igv.org
      search: false, // names of genes would go there too
      showChromosomeWidget: Object.keys(held.sizes).length > 1,
      showIdeogram: false,
      showCenterGuideButton: false,
      showCursorTrackingGuideButton: false,
      showROITableButton: false,
      minimumBases: 20,
    };
  }

  function drawLetters(track, options) {
    const { context, bpPerPixel, bpStart, pixelHeight } = options;
    const { min, max } = track.dataRange;
    const yOf = (value) => (max - Math.min(max, Math.max(min, value))) / (max - min) * pixelHeight;
    const width = 1 / bpPerPixel;
    context.save();
    context.font = "bold 100px Arial, Helvetica, sans-serif";
    context.textBaseline = "alphabetic";
    options.features.forEach(function (bar) {
      const height = yOf(0) - yOf(bar.value);
      if (Math.abs(height) < 0.5 || bar.end < bpStart) return;
      const glyph = context.measureText(bar.base);
      const left = glyph.actualBoundingBoxLeft;
      context.save();
      context.translate((bar.start - bpStart) * width, yOf(0));
      context.scale(0.96 * width / (left + glyph.actualBoundingBoxRight), height / glyph.actualBoundingBoxAscent);
      context.fillStyle = colors[bar.base];
      context.fillText(bar.base, left, 0);
      context.restore();
    });
    context.restore();
    context.fillStyle = "#586373";
    context.fillRect(0, yOf(0), options.pixelWidth, 1);
  }

  function drawAsLetters(browser) {
    browser.findTracks((track) => track.type === "wig").forEach(function (track) {
      const drawBars = track.draw.bind(track);
      track.draw = function (options) {
        const close = options.bpPerPixel * letterPx <= 1 && options.features && options.features.length && track.dataRange;
        return close ? drawLetters(track, options) : drawBars(options);
      };
      track.updateViews();
    });
  }

  function fromZero(locus) { // igv.js counts from 1, this page from 0 with the end not included
    const [, chrom, start, end] = locus.match(/^(.*):([0-9]+)-([0-9]+)$/);
    return `${chrom}:${start - 1}-${end} (0-based, end not included)`;
  }

  async function run() {
    status.textContent = "The browser is starting …";
    const script = document.createElement("script");
    script.textContent = document.getElementById("igv-source").textContent;
    document.head.append(script);
    const browser = await window.igv.createBrowser(box, config());
    drawAsLetters(browser);
    status.textContent = "";
    box.browser = browser;
    return browser;
  }

  function start() {
    started ??= run();
    started.catch(function (error) { status.textContent = "The browser could not start: " + error; });
    return started;
  }

  document.addEventListener("click", async function (event) {
    const row = event.target.closest("tr.goes");
    const to = event.target.closest("a.go");
    if (to === null) {
      const aside = row === null || event.target.closest("a, button, summary") || String(window.getSelection()) !== "";
      if (!aside) row.querySelector("a.go").click();
      return;
    }
    const browser = await start();
    await browser.search(to.dataset.locus);
    status.textContent = "Showing " + fromZero(to.dataset.locus);
    box.dataset.shown = to.dataset.locus;
  });

  new IntersectionObserver(function (entries, observer) {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    observer.disconnect();
    start();
  }, { rootMargin: "300px" }).observe(box);
})();
