// Signing in: with the token, or with the code behind the # of a link that `agentlip ui` has printed.
import { BASE, call } from "./net.js";

const form = document.getElementById("login");
const token = document.getElementById("token");
const error = document.getElementById("error");

// Only ever to a place of this page itself.
const next = () => {
  const wanted = new URLSearchParams(location.search).get("next") ?? "";
  const url = new URL(`./${wanted}`, new URL("ui/", BASE));
  return url.pathname === new URL("ui/", BASE).pathname ? url : new URL("ui/", BASE);
};

async function signIn(secret) {
  error.textContent = "";
  try {
    await call("POST", "ui/session", { ...secret, base: BASE.pathname });
    location.replace(next());
  } catch (problem) {
    error.textContent =
      problem.code === "INVALID_AUTH" && secret.token ? "This is not the hub's token." : problem.message;
    token.select();
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  signIn({ token: token.value.trim() });
});
form.querySelector("button").disabled = false;

const code = location.hash.slice(1);
if (code) {
  history.replaceState(null, "", location.pathname + location.search);
  signIn({ code });
}
