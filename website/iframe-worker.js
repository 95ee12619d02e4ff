// The search runs in a worker. Browsers start none for pages from disk; there a frame takes its place.
if (location.protocol === "file:") {
  window.IFrameWorker = window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      frame.title = "search";
      document.body.append(frame);
      const room = frame.contentWindow;
      const load = address => new Promise((done, failed) => {
        const script = room.document.createElement("script");
        Object.assign(script, { src: address, onload: done, onerror: failed });
        room.document.body.append(script);
      });
      room.postMessage = data => this.dispatchEvent(new MessageEvent("message", { data }));
      room.importScripts = (...urls) => urls.reduce((all, one) => all.then(() => load(one)), Promise.resolve());
      this.ready = load(url).then(() => room);
    }
    postMessage(data) {
      this.ready.then(room => room.dispatchEvent(new MessageEvent("message", { data })));
    }
    terminate() {}
  };
}
