// The theme's menus listen to the first button of each kind, and those in the header are hidden: the
// header goes before the theme looks for them.
document.querySelector(".bd-header")?.remove();
