//! Documentation: every item that leaves its file says what it is.
//!
//! rustc checks only what leaves the crate; this check also wants docs on `pub` items inside
//! private modules and on `pub(crate)` ones. Test-only items and trait impls are left alone, and
//! so are the methods of a twin: an `impl` that says "Documented at [`Type`]".

use syn::spanned::Spanned;

use super::source::{attributes, is_test_only};
use super::{Breach, Tree};

/// Every `pub` and `pub(crate)` item, variant and method is documented, and every `pub` field.
pub(super) fn items(tree: &Tree) -> Vec<Breach> {
    let mut found = Vec::new();
    for (source, rust) in tree.rust().filter(|(source, _)| !source.is_test()) {
        let mut missing = Vec::new();
        walk(&rust.file.items, &mut missing);
        for (name, line) in missing {
            let instead = format!("say in `///` what `{name}` takes, gives and follows");
            found.push(Breach::new(&source.path, line, "undocumented", instead));
        }
    }
    found
}

type Missing = Vec<(String, usize)>;

fn walk(items: &[syn::Item], missing: &mut Missing) {
    for item in items.iter().filter(|item| !is_test_only(attributes(item))) {
        match item {
            syn::Item::Fn(it) => note(&it.vis, &it.attrs, &it.sig.ident, missing),
            syn::Item::Const(it) => note(&it.vis, &it.attrs, &it.ident, missing),
            syn::Item::Static(it) => note(&it.vis, &it.attrs, &it.ident, missing),
            syn::Item::Type(it) => note(&it.vis, &it.attrs, &it.ident, missing),
            syn::Item::Struct(it) => {
                note(&it.vis, &it.attrs, &it.ident, missing);
                fields(&it.vis, &it.fields, missing);
            }
            syn::Item::Enum(it) => {
                note(&it.vis, &it.attrs, &it.ident, missing);
                variants(it, missing);
            }
            syn::Item::Trait(it) => note(&it.vis, &it.attrs, &it.ident, missing),
            syn::Item::Impl(it) if it.trait_.is_none() => methods(it, missing),
            syn::Item::Mod(it) => {
                if let Some((_, items)) = &it.content {
                    note(&it.vis, &it.attrs, &it.ident, missing);
                    walk(items, missing);
                }
            }
            _ => {}
        }
    }
}

/// True for `pub` and `pub(crate)`.
fn leaves(visibility: &syn::Visibility) -> bool {
    match visibility {
        syn::Visibility::Public(_) => true,
        syn::Visibility::Restricted(inner) => inner.path.is_ident("crate"),
        syn::Visibility::Inherited => false,
    }
}

fn documented(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| attribute.path().is_ident("doc"))
}

fn note(
    visibility: &syn::Visibility,
    attributes: &[syn::Attribute],
    name: &syn::Ident,
    missing: &mut Missing,
) {
    if leaves(visibility) && !documented(attributes) {
        missing.push((name.to_string(), name.span().start().line));
    }
}

fn fields(owner: &syn::Visibility, fields: &syn::Fields, missing: &mut Missing) {
    if !leaves(owner) {
        return;
    }
    for field in fields {
        let Some(name) = &field.ident else { continue };
        let open = matches!(field.vis, syn::Visibility::Public(_));
        if open && !documented(&field.attrs) {
            missing.push((name.to_string(), field.span().start().line));
        }
    }
}

fn variants(item: &syn::ItemEnum, missing: &mut Missing) {
    for variant in item.variants.iter().filter(|_| leaves(&item.vis)) {
        if !documented(&variant.attrs) {
            missing.push((variant.ident.to_string(), variant.ident.span().start().line));
        }
    }
}

/// True for an `impl` that repeats the surface of another type, documented there.
fn is_twin(item: &syn::ItemImpl) -> bool {
    let docs = item.attrs.iter().filter_map(|attribute| attribute.meta.require_name_value().ok());
    docs.filter_map(|meta| match &meta.value {
        syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => Some(text.value()),
        _ => None,
    })
    .any(|line| line.contains("Documented at [`"))
}

fn methods(item: &syn::ItemImpl, missing: &mut Missing) {
    if is_twin(item) {
        return;
    }
    for inner in &item.items {
        match inner {
            syn::ImplItem::Fn(it) if !is_test_only(&it.attrs) => {
                note(&it.vis, &it.attrs, &it.sig.ident, missing);
            }
            syn::ImplItem::Const(it) => note(&it.vis, &it.attrs, &it.ident, missing),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::found;
    use super::*;

    #[test]
    fn every_undocumented_item_that_leaves_its_file_is_reported() {
        for bad in [
            "pub fn a() {}",
            "pub(crate) struct A;",
            "pub(crate) const A: u8 = 0;",
            "/// A.\npub struct A { pub b: u8 }",
            "/// A.\npub enum A { B }",
            "impl A { pub(crate) fn b() {} }",
            "pub mod a { }",
            "mod a { pub fn b() {} }",
        ] {
            assert_eq!(found(items, "src/a.rs", bad).len(), 1, "{bad}");
        }
    }

    #[test]
    fn private_documented_and_test_items_pass() {
        let text = "fn a() {}\n/// B.\npub fn b() {}\nstruct C { pub d: u8 }\npub mod e;\n\
                    impl Clone for C { fn clone(&self) -> C { C } }\n\
                    /// Documented at [`G`].\nimpl H { pub fn g() {} }\n\
                    #[cfg(test)]\npub mod tests { pub fn f() {} }\npub use a::b;\n";
        assert!(found(items, "src/a.rs", text).is_empty());
        assert!(found(items, "src/a/tests.rs", "pub fn a() {}").is_empty());
    }
}
