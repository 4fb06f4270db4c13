// Draws what a page shows as SVG: texts, boxes and icons from the document, charts from what they draw.
(() => {
  const round = (number) => String(Math.round(number * 10) / 10);
  const escaped = (text) =>
    String(text).replace(/[&<>"]/g, (one) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[one]);
  const element = (name, attributes, inside = "") => {
    const words = Object.entries(attributes)
      .filter(([, value]) => value !== undefined && value !== null && value !== "")
      .map(([key, value]) => ` ${key}="${escaped(typeof value === "number" ? round(value) : value)}"`);
    return `\n<${name}${words.join("")}${inside ? `>${inside}</${name}>` : "/>"}`;
  };
  const opaque = (colour) => colour && colour !== "transparent" && !/^rgba\(.*, 0\)$/.test(colour);

  // --- Charts: ECharts draws on canvases; every call that leaves a mark is written down as an element. ---
  const drawings = new WeakMap();
  const drawingOf = (context) => {
    if (!drawings.has(context)) drawings.set(context, { marks: [], clips: [], clip: "", saved: [], path: "" });
    return drawings.get(context);
  };
  let clipCount = 0;
  let calls = 0;

  const arc = (x, y, rx, ry, from, to, backwards, started) => {
    const point = (angle) => `${round(x + rx * Math.cos(angle))} ${round(y + ry * Math.sin(angle))}`;
    const whole = Math.PI * 2;
    let sweep = backwards ? from - to : to - from;
    sweep = sweep >= whole ? whole : ((sweep % whole) + whole) % whole;
    const direction = backwards ? -1 : 1;
    // In halves, since SVG has no arc that ends where it began.
    const steps = [from + (direction * sweep) / 2, from + direction * sweep].map(
      (angle) => `A${round(rx)} ${round(ry)} 0 0 ${backwards ? 0 : 1} ${point(angle)}`,
    );
    return `${started ? "L" : "M"}${point(from)}${steps.join("")}`;
  };
  const rect = (x, y, w, h) => `M${round(x)} ${round(y)}h${round(w)}v${round(h)}h${round(-w)}z`;
  const PATHS = {
    moveTo: (_, x, y) => `M${round(x)} ${round(y)}`,
    lineTo: (_, x, y) => `L${round(x)} ${round(y)}`,
    bezierCurveTo: (_, ...points) => `C${points.map(round).join(" ")}`,
    quadraticCurveTo: (_, ...points) => `Q${points.map(round).join(" ")}`,
    rect: (_, ...box) => rect(...box),
    arc: (path, x, y, r, from, to, backwards) => arc(x, y, r, r, from, to, backwards, path),
    ellipse: (path, x, y, rx, ry, _turn, from, to, backwards) => arc(x, y, rx, ry, from, to, backwards, path),
    closePath: () => "Z",
  };

  const mark = (context, name, attributes, inside) => {
    calls += 1;
    const drawing = drawingOf(context);
    const { a, b, c, d, e, f } = context.getTransform();
    const moved = [a, b, c, d, e, f].map((one) => Math.round(one * 1000) / 1000).join(" ");
    const transform = moved === "1 0 0 1 0 0" ? undefined : `matrix(${moved})`;
    const opacity = context.globalAlpha === 1 ? undefined : context.globalAlpha;
    const drawn = element(name, { ...attributes, opacity, transform }, inside);
    drawing.marks.push(drawing.clip ? `<g clip-path="url(#${drawing.clip})">${drawn}</g>` : drawn);
  };
  const colour = (style) => (typeof style === "string" ? style : "none");
  const stroked = (context) => ({
    stroke: colour(context.strokeStyle),
    "stroke-width": context.lineWidth === 1 ? undefined : context.lineWidth,
    "stroke-linecap": context.lineCap === "butt" ? undefined : context.lineCap,
    "stroke-linejoin": context.lineJoin === "miter" ? undefined : context.lineJoin,
    "stroke-dasharray": context.getLineDash().join(" "),
  });
  const ANCHORS = { center: "middle", right: "end", end: "end" };
  const BASELINES = { middle: "central", top: "text-before-edge", hanging: "hanging", bottom: "text-after-edge" };
  const written = (context, text, x, y, paint) => {
    const [, weight, size] = /(?:(bold|[5-9]00) )?(?:normal )*([\d.]+)px/.exec(context.font) || [];
    mark(
      context,
      "text",
      {
        x, y, ...paint, "font-size": size,
        "font-weight": weight,
        "text-anchor": ANCHORS[context.textAlign],
        "dominant-baseline": BASELINES[context.textBaseline],
        textLength: context.measureText(text).width,
        lengthAdjust: "spacingAndGlyphs",
      },
      escaped(text),
    );
  };
  const CALLS = {
    beginPath: (context) => (drawingOf(context).path = ""),
    fill: (context) => mark(context, "path", { d: drawingOf(context).path, fill: colour(context.fillStyle) }),
    stroke: (context) => mark(context, "path", { d: drawingOf(context).path, fill: "none", ...stroked(context) }),
    fillRect: (context, ...box) => mark(context, "path", { d: rect(...box), fill: colour(context.fillStyle) }),
    fillText: (context, text, x, y) => written(context, text, x, y, { fill: colour(context.fillStyle) }),
    // Drawn before the letters themselves, as their halo.
    strokeText: (context, text, x, y) => written(context, text, x, y, { fill: "none", ...stroked(context) }),
    save: (context) => drawingOf(context).saved.push(drawingOf(context).clip),
    restore: (context) => (drawingOf(context).clip = drawingOf(context).saved.pop() || ""),
    clip: (context) => {
      const drawing = drawingOf(context);
      const { a, b, c, d, e, f } = context.getTransform();
      const name = `clip${(clipCount += 1)}`;
      const path = element("path", { d: drawing.path, transform: `matrix(${[a, b, c, d, e, f].join(" ")})` });
      drawing.clips.push(
        element("clipPath", { id: name, "clip-path": drawing.clip && `url(#${drawing.clip})` }, path),
      );
      drawing.clip = name;
    },
    // A chart clears all of its canvas before it draws the next picture.
    clearRect: (context) => Object.assign(drawingOf(context), { marks: [], clips: [] }),
  };
  const prototype = CanvasRenderingContext2D.prototype;
  const spied = (name, note) => {
    const real = prototype[name];
    prototype[name] = function (...words) {
      note(this, ...words);
      return real.apply(this, words);
    };
  };
  for (const [name, note] of Object.entries(CALLS)) spied(name, note);
  for (const [name, step] of Object.entries(PATHS)) {
    spied(name, (context, ...words) => {
      const drawing = drawingOf(context);
      drawing.path += step(drawing.path, ...words);
    });
  }
  const chart = (canvas, box) => {
    const context = canvas.getContext("2d");
    if (!context || !drawings.has(context)) return "";
    const { marks, clips } = drawings.get(context);
    const scale = box.width / canvas.width;
    const transform = `translate(${round(box.x)} ${round(box.y)})${scale === 1 ? "" : ` scale(${scale})`}`;
    return marks.length ? element("g", { transform }, clips.join("") + marks.join("")) : "";
  };

  // --- The document around them. ---
  const meet = (one, other) => {
    const x = Math.max(one.x, other.x), y = Math.max(one.y, other.y);
    const right = Math.min(one.x + one.width, other.x + other.width);
    const bottom = Math.min(one.y + one.height, other.y + other.height);
    return { x, y, width: Math.max(0, right - x), height: Math.max(0, bottom - y) };
  };
  const box = (style, at) => {
    const parts = [];
    const radius = Math.min(parseFloat(style.borderTopLeftRadius) || 0, at.height / 2);
    const edges = ["Top", "Right", "Bottom", "Left"].map((side) => ({
      width: style[`border${side}Style`] === "none" ? 0 : parseFloat(style[`border${side}Width`]),
      colour: style[`border${side}Color`],
    }));
    const seen = edges.map((edge) => edge.width > 0 && opaque(edge.colour));
    const all = seen.every(Boolean);
    if (opaque(style.backgroundColor) || all) {
      const inset = all ? edges[0].width / 2 : 0;
      parts.push(
        element("rect", {
          x: at.x + inset, y: at.y + inset, width: at.width - 2 * inset, height: at.height - 2 * inset,
          rx: radius || undefined,
          fill: opaque(style.backgroundColor) ? style.backgroundColor : "none",
          stroke: all ? edges[0].colour : undefined,
        }),
      );
    }
    const right = at.x + at.width, bottom = at.y + at.height;
    const LINES = [
      `M${round(at.x)} ${round(at.y)}H${round(right)}`, `M${round(right)} ${round(at.y)}V${round(bottom)}`,
      `M${round(at.x)} ${round(bottom)}H${round(right)}`, `M${round(at.x)} ${round(at.y)}V${round(bottom)}`,
    ];
    if (!all) {
      edges.forEach((edge, side) => {
        if (seen[side]) {
          parts.push(element("path", { d: LINES[side], stroke: edge.colour, "stroke-width": edge.width }));
        }
      });
    }
    return parts.join("");
  };
  const lines = (node) => {
    // A text that was broken into lines is written line by line.
    const range = document.createRange(), found = [];
    for (const word of node.data.matchAll(/[^\s-]*-|[^\s-]+/g)) {
      range.setStart(node, word.index);
      range.setEnd(node, word.index + word[0].length);
      const at = range.getBoundingClientRect();
      const last = found[found.length - 1];
      if (last && Math.abs(last.y - at.y) < at.height / 2) {
        last.text += (/\s/.test(node.data[word.index - 1]) ? " " : "") + word[0];
        last.width = at.right - last.x;
      } else if (at.width > 0) {
        found.push({ text: word[0], x: at.x, y: at.y, width: at.width, height: at.height });
      }
    }
    return found;
  };
  const text = (node, style, shown) =>
    lines(node)
      .map((line) => {
        const seen = meet(line, shown);
        if (seen.width < 2 || seen.height < line.height / 2) return "";
        const cut = seen.width < line.width - 2;
        // What does not fit is cut as the page cuts it, with an ellipsis.
        const kept = cut ? `${line.text.slice(0, Math.floor((line.text.length * seen.width) / line.width) - 1)}…` : line.text;
        return element(
          "text",
          {
            x: line.x, y: line.y + line.height / 2, "dominant-baseline": "central", fill: style.color,
            "font-size": parseFloat(style.fontSize),
            "font-weight": style.fontWeight === "400" ? undefined : style.fontWeight,
            textLength: cut ? undefined : line.width,
            lengthAdjust: cut ? undefined : "spacingAndGlyphs",
          },
          escaped(style.textTransform === "uppercase" ? kept.toUpperCase() : kept),
        );
      })
      .join("");
  const icon = (svg) => {
    const copy = svg.cloneNode(true);
    const shapes = [...copy.querySelectorAll("*")];
    [...svg.querySelectorAll("*")].forEach((shape, place) => {
      const style = getComputedStyle(shape);
      for (const name of ["class", "style", "id"]) shapes[place].removeAttribute(name);
      for (const name of ["fill", "fill-opacity", "stroke", "stroke-width"]) {
        shapes[place].setAttribute(name, style.getPropertyValue(name));
      }
    });
    // Where it is on the screen, turned as the page turns it.
    const { a, b, c, d, e, f } = svg.getScreenCTM();
    return element("g", { transform: `matrix(${[a, b, c, d, e, f].join(" ")})` }, copy.innerHTML);
  };
  const field = (input, style, at) =>
    input.value &&
    element(
      "text",
      {
        x: at.x + parseFloat(style.paddingLeft), y: at.y + at.height / 2, "dominant-baseline": "central",
        fill: style.color, "font-size": parseFloat(style.fontSize), "font-weight": style.fontWeight,
      },
      escaped(input.value),
    );
  const walk = (node, shown, style) => {
    if (node.nodeType === Node.TEXT_NODE) return text(node, style, shown);
    if (node.nodeType !== Node.ELEMENT_NODE) return "";
    const own = getComputedStyle(node);
    if (own.display === "none" || own.visibility === "hidden" || own.opacity === "0") return "";
    const at = node.getBoundingClientRect();
    const inside = own.overflowX !== "visible" || own.overflowY !== "visible" ? meet(shown, at) : shown;
    if (own.display !== "contents" && (inside.width < 2 || inside.height < 2)) return "";
    const seen = meet(at, shown);
    const drawn = seen.width > 0 && seen.height > 0 ? inner(node, own, at, seen, inside) : behind(node, inside, own);
    return own.opacity === "1" || !drawn ? drawn : element("g", { opacity: own.opacity }, drawn);
  };
  const inner = (node, style, at, seen, inside) => {
    if (node.tagName === "CANVAS") return chart(node, at);
    if (node.tagName.toLowerCase() === "svg") return icon(node);
    if (node.tagName === "INPUT") return box(style, seen) + field(node, style, at);
    return box(style, seen) + behind(node, inside, style);
  };
  const behind = (node, inside, style) => [...node.childNodes].map((child) => walk(child, inside, style)).join("");

  const settled = async () => {
    // Charts grow into their form: they have when nothing was drawn for half a second's frames.
    for (let quiet = 0, before = calls; quiet < 30; quiet = calls === before ? quiet + 1 : 0, before = calls) {
      await new Promise(requestAnimationFrame);
    }
  };

  window.drawnAsSvg = async (selector, title) => {
    await settled();
    const root = document.querySelector(selector);
    const at = root.getBoundingClientRect();
    const paper = element("rect", { x: at.x, y: at.y, width: at.width, height: at.height, fill: "#fff" });
    return element(
      "svg",
      {
        xmlns: "http://www.w3.org/2000/svg",
        width: at.width, height: at.height,
        viewBox: [at.x, at.y, at.width, at.height].map(round).join(" "),
        "font-family": "Inter, Helvetica, Arial, sans-serif",
      },
      element("title", {}, escaped(title)) + paper + walk(root, at, getComputedStyle(root)),
    ).trim();
  };
})();
