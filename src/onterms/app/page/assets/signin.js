const form = document.getElementById("signin");
const problem = document.getElementById("signin-problem");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  problem.hidden = true;
  try {
    const response = await fetch("/console/v1/session", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ operator_key: form.elements.operator_key.value.trim() }),
    });
    if (response.ok) {
      location.reload();
      return;
    }
    const answer = await response.json().catch(() => ({}));
    problem.textContent = answer.message ?? `The server answered ${response.status}.`;
  } catch {
    problem.textContent = "The server cannot be reached.";
  }
  problem.hidden = false;
  button.disabled = false;
  form.elements.operator_key.select();
});
