// The token of the operator, kept for this tab only, and what is done with it.

const KEY = "failover-token";

takeFromAddress();

export const token = () => sessionStorage.getItem(KEY) ?? "";
export const forget = () => sessionStorage.removeItem(KEY);

export function keep(text) {
  sessionStorage.setItem(KEY, text.trim());
}

// What has been done, or an error whose message is for people.
export async function act(action, worker) {
  const response = await fetch(`/admin/${action}`, {
    method: "POST",
    headers: { Authorization: `Bearer ${token()}`, "Content-Type": "application/json" },
    body: JSON.stringify({ worker }),
  });
  const answer = await response.json();
  if (response.status === 401) forget();
  if (!response.ok) throw new Error(answer.error);
  return answer.changed ? answer.did : `${answer.did} (it was so already)`;
}

// A token in the address would stay in the history.
function takeFromAddress() {
  const given = location.hash.match(/^#token=(.+)$/);
  if (given) {
    keep(decodeURIComponent(given[1]));
    history.replaceState(null, "", location.pathname);
  }
}
