// How far this reader has come: chapters read to their summary, exercises ticked, questions answered. It is kept in the
// reader's own browser and sent nowhere. Where nothing can be kept (a private window, say), the page does without.

"use strict";

(() => {
  const KEY = "crate-book";
  const nothing = () => ({ read: [], done: [] });

  function load() {
    try {
      return { ...nothing(), ...JSON.parse(localStorage.getItem(KEY) ?? "{}") };
    } catch {
      return nothing();
    }
  }

  let state = load();

  function remember(list, name, on = true) {
    state = load();
    state[list] = state[list].filter((other) => other !== name);
    if (on) state[list].push(name);
    try {
      localStorage.setItem(KEY, JSON.stringify(state));
    } catch {
      // not kept: shown until the page is left
    }
    show();
  }

  // "notebooks/01_coding_rate", wherever the book lies.
  const nameOf = (address) => new URL(address, location.href).pathname.split("/").slice(-2).join("/").replace(/\.html$/, "");
  const page = nameOf(location.href);

  const questions = new Map(); // name -> its choices
  const exercises = new Map(); // name -> its check box
  let line = null;

  // Choices that follow each other, with nothing but blanks between, belong to one question.
  function findQuestions(article) {
    let last = null;
    for (const choice of article.querySelectorAll("details.choice")) {
      if (!last || choice.previousElementSibling !== last) questions.set(`${page}?${questions.size + 1}`, []);
      [...questions.values()].at(-1).push(choice);
      last = choice;
    }
    for (const [name, choices] of questions) {
      for (const choice of choices) {
        choice.addEventListener("toggle", () => {
          if (choice.open && choice.classList.contains("right")) remember("done", name);
        });
      }
    }
  }

  function findExercises(article) {
    for (const heading of article.querySelectorAll("h3")) {
      const number = /^Exercise (\d+)/.exec(heading.textContent)?.[1];
      if (!number) continue;
      const name = `${page}!${number}`;
      const box = document.createElement("input");
      box.type = "checkbox";
      box.addEventListener("change", () => remember("done", name, box.checked));
      const label = document.createElement("label");
      label.className = "progress-done";
      label.append(box, "done");
      heading.after(label);
      exercises.set(name, box);
    }
  }

  function show() {
    for (const [name, box] of exercises) box.checked = state.done.includes(name);
    for (const link of document.querySelectorAll(".bd-links a.internal")) {
      link.classList.toggle("progress-read", state.read.includes(nameOf(link.href)));
    }
    if (!line) return;
    const count = (things) => `${[...things.keys()].filter((name) => state.done.includes(name)).length} of ${things.size}`;
    const parts = [];
    if (questions.size) parts.push(`questions answered: ${count(questions)}`);
    if (exercises.size) parts.push(`exercises done: ${count(exercises)}`);
    parts.push(state.read.includes(page) ? "chapter read" : "chapter not read to its summary yet");
    line.firstChild.data = `Kept in your browser, for you alone: ${parts.join(", ")}. `;
  }

  function start() {
    const article = document.querySelector(".bd-article");
    if (!article) return;
    findQuestions(article);
    findExercises(article);
    const summary = article.querySelector("section#summary");
    if (summary) {
      line = document.createElement("p");
      line.className = "progress-line";
      const forget = document.createElement("button");
      forget.type = "button";
      forget.textContent = "Forget this chapter";
      forget.addEventListener("click", () => {
        for (const name of [...questions.keys(), ...exercises.keys()]) remember("done", name, false);
        for (const choice of [...questions.values()].flat()) choice.open = false;
        remember("read", page, false);
      });
      line.append("", forget);
      line.prepend(document.createTextNode(""));
      summary.append(line);
      new IntersectionObserver((seen, observer) => {
        if (!seen.some((entry) => entry.isIntersecting)) return;
        observer.disconnect();
        remember("read", page);
      }).observe(summary.querySelector("h2"));
    }
    show();
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
