// The reader's own photo: from a file, a drop, a paste or the camera to pixels that a model can read. Nothing is sent
// anywhere; what does not work says why, in words for the reader.

const MOST_BYTES = 100e6;
const MOST_STRETCH = 2; // longer pictures are cropped to their middle: attention costs patches squared
const ENOUGH = 1600; // pixels of the shorter side from which the browser shrinks first, in native code

class PhotoError extends Error {}

// The box around the middle of a picture that is cut out, and the sides it is brought to: those of
// crate_mini.data.to_patch_grid, except that very long pictures lose their ends.
function fitToGrid(width, height, side, patch) {
  const [W, H] = [Math.min(width, MOST_STRETCH * height), Math.min(height, MOST_STRETCH * width)];
  const scale = (Math.floor(side / patch) * patch) / Math.min(W, H);
  const [w, h] = [W, H].map((s) => Math.max(patch, Math.floor(Math.floor(s * scale + 1e-6) / patch) * patch));
  const box = W / H >= w / h ? [(w / h) * H, H] : [W, W / (w / h)];
  return { x: (width - box[0]) / 2, y: (height - box[1]) / 2, width: box[0], height: box[1], w, h };
}

// Bicubic shrinking that looks at every pixel, as Pillow's resize(BICUBIC, box=...) does: from `n` pixels, of which
// `from` to `from + length` are asked for, to N. For each of the N: where its taps begin, and their weights.
function shrinkTaps(n, from, length, N) {
  const cubic = (x) => {
    const d = Math.abs(x);
    if (d < 1) return (1.5 * d - 2.5) * d * d + 1;
    return d < 2 ? ((-0.5 * d + 2.5) * d - 4) * d + 2 : 0;
  };
  const scale = length / N;
  const wide = Math.max(1, scale);
  return Array.from({ length: N }, (_, i) => {
    const centre = from + (i + 0.5) * scale;
    const first = Math.max(0, Math.floor(centre - 2 * wide + 0.5));
    const end = Math.min(n, Math.floor(centre + 2 * wide + 0.5));
    const weights = Array.from({ length: end - first }, (_, k) => cubic((first + k - centre + 0.5) / wide));
    const sum = weights.reduce((a, b) => a + b, 0);
    return { first, weights: weights.map((weight) => weight / sum) };
  });
}

// RGBA to RGBA. The clamped array rounds after either pass, as Pillow does.
function shrink({ width, height, data }, { x, y, width: W, height: H, w, h }) {
  const across = shrinkTaps(width, x, W, w);
  const down = shrinkTaps(height, y, H, h);
  const rows = new Uint8ClampedArray(height * w * 4);
  const out = new Uint8ClampedArray(h * w * 4).fill(255);
  for (let i = 0; i < height; i++) {
    across.forEach(({ first, weights }, j) => {
      for (let c = 0; c < 3; c++) {
        let sum = 0;
        for (let k = 0; k < weights.length; k++) sum += weights[k] * data[4 * (i * width + first + k) + c];
        rows[4 * (i * w + j) + c] = sum;
      }
    });
  }
  down.forEach(({ first, weights }, i) => {
    for (let j = 0; j < w; j++) {
      for (let c = 0; c < 3; c++) {
        let sum = 0;
        for (let k = 0; k < weights.length; k++) sum += weights[k] * rows[4 * ((first + k) * w + j) + c];
        out[4 * (i * w + j) + c] = sum;
      }
    }
  });
  return { width: w, height: h, data: out };
}

function canvasOf(width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  return canvas;
}

// A picture upright, as its EXIF data say, on white where it is transparent.
async function openPhoto(blob, name) {
  if (blob.size > MOST_BYTES) {
    throw new PhotoError(`${name} has ${Math.round(blob.size / 1e6)} MB; at most ${MOST_BYTES / 1e6} are read.`);
  }
  const upright = { imageOrientation: "from-image" };
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob, upright);
  } catch {
    throw new PhotoError(
      `${name} could not be read as a picture. JPEG, PNG, WebP and GIF work in every browser; ` +
        "photos in HEIC must be saved as JPEG first.",
    );
  }
  const { width, height } = bitmap;
  if (Math.min(width, height) < 8) {
    bitmap.close();
    throw new PhotoError(
      `${name} is only ${width} × ${height} pixels. A model reads patches of 8 × 8; take a photo with more in it.`,
    );
  }
  const shrunk = Math.min(1, ENOUGH / Math.min(width, height));
  const canvas = canvasOf(Math.round(width * shrunk), Math.round(height * shrunk));
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.imageSmoothingQuality = "high";
  pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return { canvas, width, height };
}

// A picture from a file, a drop or a paste, for what stands in `root`: `take(blob, name)` gets it. Returns the chooser of
// files, to be put into the page and clicked.
function acceptPhotos(root, take) {
  const file = el("input", {
    type: "file", accept: "image/*", class: "ch-hidden", tabindex: -1, "aria-hidden": "true",
    onchange: () => {
      if (file.files[0]) take(file.files[0], file.files[0].name);
      file.value = ""; // the same file may be chosen again
    },
  });
  const carriesFile = (event) => event.dataTransfer?.types.includes("Files");
  const over = (event, on) => {
    if (!carriesFile(event)) return;
    event.preventDefault();
    event.stopPropagation();
    root.classList.toggle("ch-drop", on);
  };
  root.addEventListener("dragover", (event) => over(event, true));
  root.addEventListener("dragleave", (event) => !root.contains(event.relatedTarget) && over(event, false));
  root.addEventListener("drop", (event) => {
    over(event, false);
    if (carriesFile(event)) take(event.dataTransfer.files[0], event.dataTransfer.files[0].name);
  });
  // A page has one paste for all: the viewer that the reader is at takes it.
  const pasted = (event) => {
    if (!root.isConnected) return document.removeEventListener("paste", pasted, true);
    const blob = [...(event.clipboardData?.files ?? [])].find(({ type }) => type.startsWith("image/"));
    if (!blob || !root.matches(":hover, :focus-within")) return;
    event.preventDefault();
    event.stopPropagation();
    take(blob, "The pasted picture");
  };
  document.addEventListener("paste", pasted, true);
  return file;
}

// What the models read, and a larger picture of the same part for the eye.
async function readPhoto(blob, name, side, patch) {
  const { canvas, width, height } = await openPhoto(blob, name);
  const box = fitToGrid(canvas.width, canvas.height, side, patch);
  const pixels = shrink(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height), box);
  const zoom = Math.min(1, LARGE / Math.max(box.width, box.height));
  const view = canvasOf(Math.max(1, Math.round(box.width * zoom)), Math.max(1, Math.round(box.height * zoom)));
  const pen = view.getContext("2d");
  pen.imageSmoothingQuality = "high";
  pen.drawImage(canvas, box.x, box.y, box.width, box.height, 0, 0, view.width, view.height);
  const cut = Math.max(width, height) > MOST_STRETCH * Math.min(width, height);
  return { pixels, view, from: `${width} × ${height} pixels${cut ? ", cropped to its middle" : ""}` };
}

// One frame of the camera, upright as the camera gives it.
async function cameraStream() {
  try {
    return await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" }, audio: false });
  } catch (error) {
    const why = { NotAllowedError: "the browser was not allowed to use it", NotFoundError: "none was found" };
    throw new PhotoError(`The camera cannot be used: ${why[error.name] ?? error.message}.`);
  }
}

function frameOf(video) {
  const canvas = canvasOf(video.videoWidth, video.videoHeight);
  canvas.getContext("2d").drawImage(video, 0, 0);
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}
