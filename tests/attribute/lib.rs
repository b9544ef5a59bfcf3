//! `#[test]` and `#[rstest]` for tests/harness: they register a function and the needs that it names. No need is known
//! here: names are checked where they are used, by the compiler.

use proc_macro::{TokenStream, TokenTree};

/// `#[test]`, or `#[test(Nft, Root)]` with variants of `harness::Need`.
#[proc_macro_attribute]
pub fn test(needs: TokenStream, function: TokenStream) -> TokenStream {
    let mut registered = function.clone();
    registered.extend(registration(needs, function));
    registered
}

/// `#[rstest]` with the same needs: each of its cases is such a test.
#[proc_macro_attribute]
pub fn rstest(needs: TokenStream, function: TokenStream) -> TokenStream {
    let mut all = parse(&format!("#[::rstest::rstest] #[test_attr(crate::harness::test({needs}))]"));
    all.extend(function);
    all
}

fn registration(needs: TokenStream, function: TokenStream) -> TokenStream {
    let mut tokens = function.into_iter();
    let mut attribute = false;
    for token in tokens.by_ref() {
        match &token {
            TokenTree::Ident(word) if word.to_string() == "fn" => break,
            // The next token is an attribute's bracket.
            TokenTree::Punct(mark) if mark.as_char() == '#' => attribute = true,
            TokenTree::Group(group) if std::mem::take(&mut attribute) => {
                let first = group.stream().into_iter().next().map(|word| word.to_string());
                if let Some(word @ ("ignore" | "should_panic")) = first.as_deref() {
                    return error(&format!("#[{word}] has no effect in this harness"));
                }
            }
            _ => {}
        }
    }
    let Some(TokenTree::Ident(name)) = tokens.next() else { return error("#[test] is for functions") };
    let needs: TokenStream = needs
        .into_iter()
        .flat_map(|token| match token {
            TokenTree::Ident(_) => parse("crate::harness::Need::").into_iter().chain(Some(token)).collect::<Vec<_>>(),
            other => vec![other],
        })
        .collect();
    let module = parse(&format!("module: module_path!(), name: stringify!({name}), run: {name}, needs: &"));
    let mut fields = module;
    fields.extend([bracketed(proc_macro::Delimiter::Bracket, needs)]);
    let mut test = parse("crate::harness::Test");
    test.extend([bracketed(proc_macro::Delimiter::Brace, fields)]);
    let mut submit = parse("::inventory::submit!");
    submit.extend([bracketed(proc_macro::Delimiter::Brace, test)]);
    submit
}

fn bracketed(delimiter: proc_macro::Delimiter, tokens: TokenStream) -> TokenTree {
    TokenTree::Group(proc_macro::Group::new(delimiter, tokens))
}

fn error(message: &str) -> TokenStream {
    parse(&format!("::core::compile_error!({message:?});"))
}

fn parse(text: &str) -> TokenStream {
    text.parse().expect("tokens")
}
