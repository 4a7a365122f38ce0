export { openPage, PageMissingError, type Page, type PageFile } from "./page.ts";
