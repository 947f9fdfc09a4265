// Show the step and the bits/dim under the pointer. The page is complete without this script.
for (const chart of document.querySelectorAll(".chart")) {
  const points = JSON.parse(chart.dataset.points);
  const cursor = chart.querySelector(".cursor");
  const [line, circle, text] = cursor.children;
  const show = (event) => {
    const box = chart.getBoundingClientRect();
    const at = (event.clientX - box.left) / box.width * chart.viewBox.baseVal.width;
    const [x, y, step, value, mean, validation] = points.reduce((a, b) => Math.abs(b[0] - at) < Math.abs(a[0] - at) ? b : a);
    line.setAttribute("x1", x);
    line.setAttribute("x2", x);
    circle.setAttribute("cx", x);
    circle.setAttribute("cy", y);
    text.textContent = `step ${step.toLocaleString("en")}: ${value.toFixed(3)}, mean ${mean.toFixed(3)}`;
    if (validation !== undefined) text.textContent += `, validation ${validation.toFixed(3)}`;
    cursor.setAttribute("visibility", "visible");
  };
  chart.addEventListener("pointermove", show);
  chart.addEventListener("pointerdown", show);
  chart.addEventListener("pointerleave", () => cursor.setAttribute("visibility", "hidden"));
}

// Show a hint below each table that is wider than the window, until the table is scrolled.
for (const table of document.querySelectorAll(".scroll")) {
  const hint = document.createElement("p");
  hint.className = "hint";
  hint.textContent = "Scroll sideways for more columns →";
  table.after(hint);
  const update = () => { hint.hidden = table.scrollWidth <= table.clientWidth + 1 || table.scrollLeft > 8; };
  table.addEventListener("scroll", update);
  new ResizeObserver(update).observe(table);
}

// Show the bits/dim of the sample under the pointer.
const tip = document.createElement("div");
tip.className = "tip";
tip.hidden = true;
document.body.append(tip);
for (const sheet of document.querySelectorAll("img[data-tiles]")) {
  const [columns, bits, unit] = JSON.parse(sheet.dataset.tiles);
  const rows = Math.ceil(bits.length / columns);
  sheet.addEventListener("pointermove", (event) => {
    const box = sheet.getBoundingClientRect();
    const column = Math.floor((event.clientX - box.left) / box.width * columns);
    const index = Math.floor((event.clientY - box.top) / box.height * rows) * columns + column;
    tip.hidden = bits[index] == null;
    if (tip.hidden) return;
    tip.textContent = `image ${index}: ${bits[index].toFixed(3)} ${unit}`;
    tip.style.left = `${Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8)}px`;
    tip.style.top = `${event.clientY + 18}px`;
  });
  sheet.addEventListener("pointerleave", () => { tip.hidden = true; });
}

// Enlarge a picture in a dialog.
const frame = document.createElement("dialog");
frame.setAttribute("aria-label", "Enlarged picture; press Escape to close it");
document.body.append(frame);
frame.addEventListener("click", () => frame.close());
for (const picture of document.querySelectorAll("img.pixels")) {
  const enlarge = () => {
    const copy = new Image();
    // Enlarge by the largest integer with which the picture fits the width of the window, but by at least 2.
    const zoom = Math.max(2, Math.floor(innerWidth / picture.width));
    copy.width = picture.width * zoom;
    copy.height = picture.height * zoom;
    copy.alt = picture.alt;
    copy.src = picture.src;
    frame.replaceChildren(copy);
    frame.showModal();
  };
  picture.classList.add("enlarges");
  picture.tabIndex = 0;
  picture.setAttribute("role", "button");
  picture.addEventListener("click", enlarge);
  picture.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    enlarge();
  });
}
