// What all pages do: name the address of this site in lines to copy, and copy them.
'use strict';

const top_ = new URL(document.body.dataset.root || './', location.href).href;
for (const each of document.querySelectorAll('[data-top]')) each.textContent = top_;

if (navigator.clipboard) {
  for (const code of document.querySelectorAll('pre.code:has(code)')) {
    const around = document.createElement('div');
    around.className = 'copies';
    const button = document.createElement('button');
    button.type = 'button';
    button.textContent = 'Copy';
    button.addEventListener('click', async () => {
      await navigator.clipboard.writeText(code.textContent.trim());
      button.textContent = 'Copied';
      setTimeout(() => (button.textContent = 'Copy'), 2000);
    });
    code.replaceWith(around);
    around.append(code, button);
  }
}
