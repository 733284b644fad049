() => {
  // Gradio's upload buttons have names that differ from their text, and do not say what they are for.
  const name = () => document.querySelectorAll('button.upload-container').forEach(button => {
    const label = button.closest('#portrait') ? 'Portrait' : button.closest('#voice') ? 'Voice' : '';
    const text = `${label}: ${button.innerText.replace(/\s+/g, ' ').trim()}`;
    if (label && button.getAttribute('aria-label') !== text) button.setAttribute('aria-label', text);
  });
  new MutationObserver(name).observe(document.body, {childList: true, subtree: true});
  name();
}
