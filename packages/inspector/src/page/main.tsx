import { render } from "preact";
import { App } from "./app.tsx";
import { Inspection } from "./inspection.ts";
import { initialWish } from "./wish.ts";

const root = document.getElementById("app");
if (root === null) throw new Error("index.html has no #app");
const socketUrl = new URL("../socket", location.href);
socketUrl.protocol = socketUrl.protocol.replace("http", "ws");
socketUrl.hash = "";
const inspection = new Inspection({
  socketUrl: socketUrl.href,
  apiUrl: new URL("../api/inspector/", location.href).href,
  storage: sessionStorage,
});
render(<App inspection={inspection} initial={initialWish(location.hash)} />, root);
