// What the page does in the browser: direction, language switch, files, and word of a lost connection.
(() => {
  const root = document.documentElement;
  const arabic = /[\u0600-\u06FF\u0750-\u077F\u08A0-\u08FF]/;

  // Gradio loads pictures that a model names; only those of this page may be shown.
  const policy = document.createElement("meta");
  policy.httpEquiv = "Content-Security-Policy";
  policy.content = "img-src 'self' data: blob:; media-src 'self' blob:; frame-src 'none'; object-src 'none'";
  document.head.append(policy);

  // Gradio sets the page's language; the direction follows it.
  // Gradio writes a direction of its own on blocks and labels.
  const DIRECTED = ".block[dir], label[dir], [data-testid='block-info'][dir], .prose[dir]";
  const turn = () => {
    const language = (root.lang || "en").startsWith("ar") ? "ar" : "en";
    root.dir = language === "ar" ? "rtl" : "ltr";
    for (const one of document.querySelectorAll(DIRECTED)) if (one.dir !== root.dir) one.dir = root.dir;
    name(language);
    for (const button of document.querySelectorAll("[data-language]"))
      button.setAttribute("aria-pressed", String(button.dataset.language === language));
  };

  // Gradio's own settings change the language by this function; it has no public name.
  const speak = async (language) => {
    const core = performance.getEntriesByType("resource").map((entry) => entry.name)
      .find((name) => /\/assets\/core-[^/]+\.js/.test(name));
    if (core) (await import(core)).changeLocale(language);
    try { localStorage.setItem("hala-language", language); } catch { /* a browser that keeps nothing */ }
  };
  const wanted = () => {
    const asked = new URLSearchParams(location.search).get("lang");
    let kept = null;
    try { kept = localStorage.getItem("hala-language"); } catch { /* as above */ }
    return [asked, kept].find((one) => one === "ar" || one === "en");
  };

  // Buttons that have no name, or one that Gradio does not translate.
  const name = (language) => {
    const words = window.halaWords[language];
    for (const [where, word] of Object.entries(words.names))
      for (const one of document.querySelectorAll(where))
        if (one.ariaLabel !== word) { one.ariaLabel = word; one.title = word; }
    // Gradio does not turn the names of tabs that were never opened.
    for (const tab of document.querySelectorAll("[data-tab-id]")) {
      const text = [...tab.childNodes].find((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
      const word = words.tabs[tab.dataset.tabId];
      if (text && word && text.data.trim() !== word) text.data = word;
      if (tab.getAttribute("aria-controls") === "") tab.removeAttribute("aria-controls");
    }
  };

  // Every paragraph of a message has its own direction and language.
  const BLOCKS = ".message :is(p, ul, ol, h1, h2, h3, h4, h5, h6, table, blockquote), .status p, .gallery-item, .about :is(td, th)";
  const mark = () => {
    for (const block of document.querySelectorAll(BLOCKS)) {
      if (block.dir !== "auto") block.dir = "auto";
      const language = arabic.test(block.textContent) ? "ar" : "en";
      if (block.lang !== language) block.lang = language;
    }
    for (const box of document.querySelectorAll("textarea")) {
      const way = box.value ? "auto" : root.dir; // what stands in an empty box is of the page's language
      if (box.dir !== way) box.dir = way;
    }
    for (const code of document.querySelectorAll(".message :is(pre, code)")) if (code.dir !== "ltr") code.dir = "ltr";
    const status = document.querySelectorAll(".status, #conversation");
    for (const one of status) if (!one.ariaLive) one.ariaLive = "polite";
  };

  let due = false;
  new MutationObserver(() => {
    if (due) return;
    due = true;
    requestAnimationFrame(() => { due = false; turn(); mark(); });
  }).observe(root, { subtree: true, childList: true, characterData: true, attributeFilter: ["lang"] });

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-language]");
    if (button) speak(button.dataset.language);
  });
  document.addEventListener("input", mark);
  const connected = () => {
    for (const word of document.querySelectorAll(".lost")) word.hidden = navigator.onLine;
  };
  addEventListener("online", connected);
  addEventListener("offline", connected);

  const begin = () => {
    const language = wanted();
    if (!document.querySelector("[data-language]")) return setTimeout(begin, 50);
    if (language && !root.lang.startsWith(language)) speak(language);
    turn();
    mark();
  };
  begin();

  window.hala = {
    save: (name, text) => {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([text], { type: "text/plain;charset=utf-8" }));
      link.download = name;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    },
  };
})();
